"""How long something will take, said before it is asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """Seconds of drawing, most likely between `low` and `high`; None while nothing is known about this model and device.

    It would be number `position` in line, 1 being next, and begin in `ahead_s` seconds; None while that cannot be said.
    """

    seconds: float | None
    low: float | None
    high: float | None
    ahead_s: float | None
    position: int
