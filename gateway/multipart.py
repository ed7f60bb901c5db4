"""`multipart/form-data` read as it comes: fields in memory, the file in pieces to whoever takes it.

Nothing of a file is kept here. Refuses more than one file, long fields, and bodies that are cut short.
"""

from collections.abc import Awaitable, Callable

import multipart

from gateway.exchange import Exchange
from waypost.errors import Category, WaypostError, invalid

Take = Callable[[bytes | bytearray], Awaitable[None]]


class Form:
    """What was read: fields by name, and what the file said of itself."""

    def __init__(self) -> None:
        self.fields: dict[str, bytes] = {}
        self.file_name: str | None = None
        self.content_type: str | None = None


def boundary_of(exchange: Exchange) -> str | None:
    """The boundary of a multipart body; None when the body is of another kind. Raises 400 when it has none."""
    kind, options = multipart.parse_options_header(exchange.header(b"content-type") or "")
    if kind != "multipart/form-data":
        return None
    boundary: str = options.get("boundary", "")
    if not 0 < len(boundary) <= 200:
        raise _malformed("its Content-Type has no boundary")
    return boundary


async def read_form(exchange: Exchange, boundary: str, *, cap: int, max_field_bytes: int, take: Take) -> Form:
    """Read the whole body of at most `cap` bytes; `take` gets the pieces of the part named `file`.

    Raises 400, 413, 422, and whatever `take` raises.
    """
    form = Form()
    parser = multipart.PushMultipartParser(boundary, max_segment_count=16, max_header_size=8192)
    name = ""
    try:
        async for piece in exchange.pieces(cap):
            for event in parser.parse(piece):
                if isinstance(event, multipart.MultipartSegment):
                    name = _begin(form, event)
                elif event is None:
                    continue
                elif name == "file":
                    await take(event)
                else:
                    form.fields[name] += bytes(event)
                    if len(form.fields[name]) > max_field_bytes:
                        raise invalid("field_too_large", f"A field has at most {max_field_bytes} bytes.", f"/{name}")
        parser.close()
    except multipart.MultipartError as error:
        raise _malformed(str(error)) from None
    if form.file_name is None:
        raise invalid("missing_field", "The form has no part named file.", "/file")
    return form


def _begin(form: Form, segment: multipart.MultipartSegment) -> str:
    name: str = segment.name
    if name not in ("metadata", "file"):
        raise invalid("unknown_field", "The form has the parts metadata and file, and no others.", f"/{name[:100]}")
    if name in form.fields or (name == "file" and form.file_name is not None):
        raise invalid("repeated_field", f"The part {name} comes twice.", f"/{name}")
    if name == "file":
        form.file_name, form.content_type = segment.filename or "", segment.content_type
    else:
        form.fields[name] = b""
    return name


def _malformed(why: str) -> WaypostError:
    return WaypostError("malformed_form", f"The multipart body cannot be read: {why}.", Category.MALFORMED)
