"""Strokes from outside: what the hand can make comes through, everything else is one sentence about the mask."""

from __future__ import annotations

import pytest

from engine import InvalidRequest, Stroke, parse_strokes
from engine.contract.strokes import POINTS_MAX, STROKES_MAX


def test_strokes_come_through() -> None:
    plain = [{"tool": "brush", "size": 12, "points": [1, 2, 3.5, 4]}, {"tool": "invert"}]
    assert parse_strokes(plain) == (Stroke(tool="brush", size=12, points=(1, 2, 3.5, 4)), Stroke(tool="invert"))


@pytest.mark.parametrize(
    "plain",
    [
        None, "brush", 5, {"tool": "brush"}, [5], [{"tool": "spray"}], [{"tool": "brush", "points": 5}], [{"tool": "brush", "points": "12"}],
        [{"tool": "brush", "points": None}], [{"tool": "brush", "points": [1]}], [{"tool": "brush", "points": [1, "x"]}],
        [{"tool": "brush", "points": [1, float("nan")]}], [{"tool": "brush", "points": [1, 1e9]}], [{"tool": "brush", "size": 0}],
        [{"tool": "brush", "colour": "red"}], [{"tool": "invert"}] * (STROKES_MAX + 1), [{"tool": "brush", "points": [0] * (POINTS_MAX + 2)}],
    ],
)  # fmt: skip
def test_what_is_no_stroke_is_refused(plain: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_strokes(plain)
    assert caught.value.field == "mask"
    assert caught.value.message
