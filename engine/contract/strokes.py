"""A mask as the hand made it: strokes in pixels of the source picture, small enough to travel with every click."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.contract.errors import InvalidRequest

STROKES_MAX = 20_000
POINTS_MAX = 400_000
_FAR = 100_000.0
# The widest line that OpenCV draws.
SIZE_MAX = 32_767

Place = Annotated[float, Field(ge=-_FAR, le=_FAR, allow_inf_nan=False)]


class Stroke(BaseModel):
    """One act of the hand.

    brush, erase: a line of `size` pixels through `points`. lasso: the area inside `points`, taken away where `is_erasing`.
    fill: the unmasked area around the one point. invert, clear, all: the whole mask; they have no points.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: Literal["brush", "erase", "lasso", "fill", "invert", "clear", "all"]
    size: Annotated[float, Field(gt=0, le=SIZE_MAX, allow_inf_nan=False)] = 1.0
    # x, y, x, y …
    points: tuple[Place, ...] = ()
    is_erasing: bool = False


def parse_strokes(plain: object) -> tuple[Stroke, ...]:
    """Strokes from loose values. Raises `InvalidRequest` about the mask."""
    if not isinstance(plain, (list, tuple)) or len(plain) > STROKES_MAX:
        raise _unreadable()
    strokes: list[Stroke] = []
    points = 0
    for one in plain:
        if not isinstance(one, Mapping):
            raise _unreadable()
        values: Mapping[str, Any] = one
        places = values.get("points", ())
        if not isinstance(places, (list, tuple)):
            raise _unreadable()
        points += len(places)
        if points > POINTS_MAX:
            raise InvalidRequest("The mask has too many strokes.", "Clear it, or use the lasso for large areas.", "mask")
        try:
            strokes.append(Stroke.model_validate(values))
        except ValidationError:
            raise _unreadable() from None
    if any(len(stroke.points) % 2 for stroke in strokes):
        raise _unreadable()
    return tuple(strokes)


def _unreadable() -> InvalidRequest:
    return InvalidRequest("The mask cannot be read.", "Clear it and paint it again.", "mask")
