"""Whether a model fits into the memory at hand, said before anything is loaded: a rule of thumb over the sizes of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Plan = Literal["whole", "text encoder on CPU", "one part at a time", "in pieces", "too large"]
# What a run needs beside the weights: a share of the denoiser for its activations, and a decoder that works in tiles.
_WORK_SHARE, _WORK_LEAST, _WORK_MOST = 0.25, 200 * 1024**2, 3 * 1024**3 // 2
# Streamed, some blocks of the denoiser lie on the device at a time.
_STREAMED_SHARE = 0.15
_GIB = 1024**3


@dataclass(frozen=True)
class Room:
    """The memory of the device that draws. `is_host`: it is the computer's own, so there is nowhere else to put a part."""

    name: str
    bytes: int
    is_host: bool


@dataclass(frozen=True)
class Fit:
    """`needed_bytes` lie on the device at once when the plan is followed."""

    plan: Plan
    needed_bytes: int
    text: str

    @property
    def is_possible(self) -> bool:
        return self.plan != "too large"


def fit(parts: Mapping[str, int], room: Room) -> Fit:
    """The quickest plan that fits. `parts` are bytes in 16 bit by component, named as in a diffusers folder."""
    total = sum(parts.values())
    denoiser = max((size for name, size in parts.items() if not is_text_encoder(name)), default=0)
    text = sum(size for name, size in parts.items() if is_text_encoder(name))
    work = min(max(int(denoiser * _WORK_SHARE), _WORK_LEAST), _WORK_MOST)
    plans: list[tuple[Plan, int]] = [("whole", total + work)]
    if not room.is_host:
        if text:
            plans.append(("text encoder on CPU", total - text + work))
        plans.append(("one part at a time", max(parts.values(), default=0) + work))
        plans.append(("in pieces", int(denoiser * _STREAMED_SHARE) + work))
    for plan, needed in plans:
        if needed <= room.bytes:
            how = "" if plan == "whole" else f", {plan}"
            return Fit(plan, needed, f"{gigabytes(needed)} of {gigabytes(room.bytes)} GB{how}")
    plan, needed = plans[-1]
    return Fit("too large", needed, f"needs {gigabytes(needed)} GB, and there are {gigabytes(room.bytes)}")


def is_text_encoder(part: str) -> bool:
    return part.startswith("text_encoder")


def gigabytes(count: int) -> str:
    """ "7.1", "0.3", "24": as memory is sold, in units of 1024³ bytes."""
    value = count / _GIB
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}".removesuffix(".0")
