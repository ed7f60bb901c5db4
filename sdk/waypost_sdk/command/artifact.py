"""`waypost artifacts`: upload, list, get, download, delete."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from waypost_sdk.command import failure, output
from waypost_sdk.command.failure import UsageError
from waypost_sdk.command.instant import instant
from waypost_sdk.command.session import connect

if TYPE_CHECKING:
    from waypost_sdk.artifact import Artifact

app = typer.Typer(help="Stored evidence: incident bundles, snapshots, payloads, any file.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(metavar="ARTIFACT", help="The artifact's id.")]
_COLUMNS: tuple[output.Column, ...] = (
    ("ARTIFACT", lambda artifact: artifact.id),
    ("TYPE", lambda artifact: artifact.type),
    ("NAME", lambda artifact: artifact.name),
    ("STATE", lambda artifact: artifact.state),
    ("BYTES", lambda artifact: f"{artifact.size_bytes:,}"),
    ("AGE", lambda artifact: output.age(artifact.created_at)),
    ("REJECTED FOR", lambda artifact: [reason.code for reason in artifact.reasons] or None),
)


@app.command()
def upload(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="The file; - reads stdin, up to 64 MiB.")],
    kind: Annotated[
        str, typer.Option("--type", help="file, incident_bundle, snapshot, diagnostic, payload …")
    ] = "file",
    name: Annotated[str | None, typer.Option(help="Another name than the file's.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; searchable.")] = None,
    captured_at: Annotated[str | None, typer.Option(help="When it was captured, RFC 3339.")] = None,
    job: Annotated[str | None, typer.Option(help="The job that it came from.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="ARTIFACT", help="Go on with an upload that was cut.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for ingest; exit code 1 when it is rejected.")] = False,
    as_json: output.Json = False,
) -> None:
    """Upload a file; content that is known is not sent or kept twice."""
    source = _source(file)
    with connect(context) as client, output.waiting(f"uploading {file}"):
        made = client.artifacts.upload(
            source, type=kind, name=name, labels=_pairs(label), captured_at=instant(captured_at, "--captured-at"),
            job_id=job, resume=resume,
        )  # fmt: skip
        if wait:
            made = client.artifacts.wait(made.id)
    output.show_one(made, as_json=as_json)
    _exit_if_rejected(made)


@app.command("list")
def list_(
    context: typer.Context,
    kind: Annotated[list[str] | None, typer.Option("--type", help="Only of this type.")] = None,
    state: Annotated[list[str] | None, typer.Option(help="uploading, received, ingested or rejected.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE.")] = None,
    field: Annotated[list[str] | None, typer.Option(help="KEY=VALUE that ingest found: runtime=…, spec_ok=…")] = None,
    job: Annotated[str | None, typer.Option(help="Only from this job.")] = None,
    sha256: Annotated[str | None, typer.Option(help="Only with this content.")] = None,
    spec_hash: Annotated[str | None, typer.Option(help="Only incident bundles of this specification.")] = None,
    created_after: Annotated[str | None, typer.Option(help="RFC 3339.")] = None,
    created_before: Annotated[str | None, typer.Option(help="RFC 3339.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, newest first.")] = 50,
    as_json: output.Json = False,
) -> None:
    """List artifacts, newest first."""
    with connect(context) as client:
        found = client.artifacts.list(
            type=kind, state=state, labels=_pairs(label), fields=_pairs(field, "--field"), job_id=job, sha256=sha256,
            spec_hash=spec_hash, created_after=instant(created_after, "--created-after"),
            created_before=instant(created_before, "--created-before"), limit=limit,
        )  # fmt: skip
        output.show_list(found, _COLUMNS, as_json=as_json)


@app.command()
def get(context: typer.Context, artifact_id: _Id, as_json: output.Json = False) -> None:
    """Show an artifact, what ingest found in it and what refers to it."""
    with connect(context) as client:
        output.show_one(client.artifacts.get(artifact_id), as_json=as_json)


@app.command()
def download(
    context: typer.Context,
    artifact_id: _Id,
    to: Annotated[
        str | None, typer.Option("--output", "-o", help="The file to write; - is stdout. Default: its name, here.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write an artifact's content to a file."""
    with connect(context) as client:
        if to == "-":
            client.artifacts.download(artifact_id, sys.stdout.buffer)
            sys.stdout.flush()
            return
        target = Path(to if to is not None else _file_name(client.artifacts.get(artifact_id)))
        if target.exists() and not force:
            raise UsageError(f"{target} is there already; repeat with --force, or choose another with --output.")
        with output.waiting(f"downloading to {target}"):
            try:
                size = client.artifacts.download(artifact_id, target)
            except OSError as error:
                raise UsageError(f"{target} cannot be written: {error.strerror}") from error
    output.note(f"{target}: {size:,} bytes")


@app.command()
def delete(context: typer.Context, artifact_id: _Id) -> None:
    """Delete an artifact; its content goes with the last artifact that has it."""
    with connect(context) as client:
        client.artifacts.delete(artifact_id)


def _source(file: str) -> bytes | Path:
    if file == "-":
        return sys.stdin.buffer.read()
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"{file} is not a file.")
    return path


def _file_name(artifact: "Artifact") -> str:
    """The last part of its name: never a path that somebody else chose."""
    name = artifact.name.replace("\\", "/").rpartition("/")[2]
    return name if name not in ("", ".", "..") else f"artifact-{artifact.id}"


def _pairs(texts: list[str] | None, option: str = "--label") -> dict[str, str] | None:
    found = [text.partition("=") for text in texts or ()]
    if any(not name or not equals for name, equals, _ in found):
        raise UsageError(f"{option} is KEY=VALUE.")
    return {name: value for name, _, value in found} or None


def _exit_if_rejected(artifact: "Artifact") -> None:
    if artifact.state == "rejected":
        raise typer.Exit(failure.OTHER)
