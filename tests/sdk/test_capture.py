"""What handlers print, and how their lines and answers leave the node: bounded, in order, told when lines are lost."""

import io
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from waypost_contracts.waypost_frame_pb2 import Finished, NodeFrame
from waypost_sdk.node import outbox as module
from waypost_sdk.node.capture import captured, watched_streams
from waypost_sdk.node.outbox import Outbox


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


def test_whole_lines_are_told_and_everything_is_still_printed(told, capsys):
    """The rest of a line when the handler ends; nothing outside of it; streams of others as before."""
    with watched_streams():
        print("before")
        with captured(lambda stream, line: told.append((stream, line))):
            print("a", "b")
            sys.stdout.write("c\r\nd")
            sys.stderr.writelines(["e\n", "f\n"])
            print()
        print("after")
    assert told == [("stdout", "a b"), ("stdout", "c"), ("stderr", "e"), ("stderr", "f"), ("stdout", "d")]
    assert capsys.readouterr() == ("before\na b\nc\r\nd\nafter\n", "e\nf\n")


def test_a_line_without_end_is_told_in_pieces(told):
    """A handler that never ends a line cannot fill the memory."""
    with watched_streams(), captured(lambda stream, line: told.append((stream, line))):
        for _ in range(5):
            sys.stdout.write("x" * 5_000)
    assert [len(line) for _, line in told] == [8_000, 8_000, 8_000, 1_000]


def test_what_is_logged_to_the_streams_is_captured(told, monkeypatch):
    """Root handlers that hold the stream from before; they get it back."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    handler, logger = logging.StreamHandler(stream), logging.getLogger()
    logger.addHandler(handler)
    try:
        with watched_streams(), captured(lambda stream, line: told.append((stream, line))):
            logging.getLogger("anything").error("broken")
    finally:
        logger.removeHandler(handler)
    assert told == [("stderr", "broken")]
    assert handler.stream is stream
    assert stream.getvalue() == "broken\n"


def test_streams_that_somebody_replaced_are_left_alone(monkeypatch):
    """A context manager of somebody else's, say, that outlives the node."""
    other = io.StringIO()
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    with watched_streams():
        sys.stdout = other
    assert sys.stdout is other


def frames(outbox: Outbox) -> Iterator[Any]:
    while (event := outbox.take()) is not None:
        yield NodeFrame.FromString(event.binary_data)


async def test_an_answer_waits_for_what_its_attempt_said(monkeypatch):
    """After it the relay takes no line more; answers of others do not wait."""
    monkeypatch.setattr(module, "MAX_FRAME_ENTRIES", 10)
    outbox = Outbox()
    for number in range(25):
        outbox.log(1, 5, "info", str(number))
    for attempt in (1, 2):
        outbox.finished(Finished(attempt_id=attempt, result=b"1"))
    sent = list(frames(outbox))
    assert [len(frame.log) for frame in sent] == [10, 10, 5]
    assert [[entry.attempt_id for entry in frame.finished] for frame in sent] == [[2], [], [1]]


async def test_lines_that_were_too_many_are_told(monkeypatch):
    """The oldest go; each attempt is told how many, also one of which nothing is left."""
    monkeypatch.setattr(module, "MAX_LOG_LINES", 5)
    outbox = Outbox()
    outbox.log(2, 5, "info", "gone")
    for number in range(8):
        outbox.log(1, 5, "info", str(number))
    (frame,) = frames(outbox)
    assert [line.message for line in frame.log[2:]] == ["3", "4", "5", "6", "7"]
    told = [(line.attempt_id, line.level, line.message.split()[1]) for line in frame.log[:2]]
    assert told == [(2, "warning", "1"), (1, "warning", "3")]
    outbox.log(1, 5, "info", "8")
    (frame,) = frames(outbox)
    assert [line.message for line in frame.log] == ["8"]


async def test_a_frame_of_long_lines_is_bounded():
    """A stream takes 4 MiB a message."""
    outbox = Outbox()
    for _ in range(300):
        outbox.log(1, 5, "info", "x" * 8_000)
    sizes = [frame.ByteSize() for frame in frames(outbox)]
    assert len(sizes) == 5
    assert max(sizes) < 1 << 20
