"""GPUs that are lent to one call at a time (ZeroGPU on hosted Spaces): the call says how long it needs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from importlib.util import find_spec
from math import ceil

from engine.contract.work import HostMessage, Work

Draw = Callable[[Work], Generator[HostMessage, None, None]]

# What a lender is asked for: half as much again as expected, because the call is cut off at the end of it; and a moment
# for the model to reach the device. Nothing known yet means the lender's own usual time.
_SLACK, _LOADING_S, _UNKNOWN_S = 1.5, 10, 60


def lent(draw: Draw) -> Draw | None:
    """`draw` on a borrowed device; None where devices are one's own. To be called before torch is imported, as the lender wants it."""
    if find_spec("spaces") is None:
        return None
    import spaces  # type: ignore[import-not-found]  # only there where GPUs are lent

    return spaces.GPU(duration=wanted_s)(draw)  # pyright: ignore[reportUnknownVariableType]


def wanted_s(work: Work) -> int:
    """Seconds to borrow the device for."""
    return _UNKNOWN_S if work.expected_s is None else ceil(work.expected_s * _SLACK + _LOADING_S)
