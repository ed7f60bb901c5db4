"""Frames that chase each other are spaced; a lone one never waits. The relay's and the SDK's rule are the same."""

from typing import Any

import pytest
from waypost_sdk.node import outbox as sdk

from relay import outbox as relay

SIDES = pytest.mark.parametrize("side", [relay, sdk], ids=["relay", "sdk"])


def waits(side: Any, gaps: list[float]) -> list[float]:
    """How long each frame waits, when each wants to go `gap` seconds after the one before went."""
    pace, now, found = side.Pace(), 100.0, []
    for gap in gaps:
        now += gap
        found.append(pace.wait_seconds(now))
        now += found[-1]
        pace.went(now)
    return found


@SIDES
def test_lone_frames_go_at_once(side: Any) -> None:
    """Two hundred a second are no crowd."""
    assert not any(waits(side, [0.005] * 100))


@SIDES
def test_a_short_burst_goes_at_once_and_a_long_one_is_spaced(side: Any) -> None:
    """The first few of a burst do not wait; then each waits for what is missing to the spacing."""
    found = waits(side, [0.0] * 30)
    assert not any(found[: side.CHASED])
    assert found[side.CHASED + 2 :] == pytest.approx([side.SPACING_SECONDS] * (28 - side.CHASED))


@SIDES
def test_after_a_pause_frames_go_at_once_again(side: Any) -> None:
    """A crowd is forgotten with the first pause."""
    found = waits(side, [0.0] * 30 + [side.PAUSE_SECONDS * 1.5, 0.0])
    assert found[-2:] == [0.0, 0.0]
