"""How a model is laid into the memory at hand, decided before anything is loaded: a rule of thumb over the sizes of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# From the quickest to the one that takes the least. All but the last draw the same picture, bit for bit.
Plan = Literal["whole", "text encoder on CPU", "one part at a time", "in pieces", "in 8 bits"]
# "everything" lays all of a model on the device, come what may; "lighter" is one step below what fits, "lightest" the last one.
MemoryChoice = Literal["automatic", "everything", "lighter", "lightest"]

# What a run needs beside the weights: a share of the denoiser for its activations, and a decoder that works in tiles.
_WORK_SHARE, _WORK_LEAST, _WORK_MOST = 0.25, 200 * 1024**2, 3 * 1024**3 // 2
# Streamed, some blocks of the denoiser lie on the device at a time.
STREAMED_SHARE = 0.15
_GIB = 1024**3
_WENT_ON: Mapping[Plan, str] = {
    "text encoder on CPU": "the text encoder on the CPU",
    "one part at a time": "one part of the model at a time",
    "in pieces": "the model in pieces",
}
# Edges of tiles are multiples of this, and no tile is smaller than the next, in pixels.
_TILE_GRID, _TILE_LEAST = 64, 256


@dataclass(frozen=True)
class Room:
    """The memory of the device that draws. `is_host`: it is the computer's own, so there is nowhere else to put a part."""

    name: str
    bytes: int
    is_host: bool


@dataclass(frozen=True)
class Memory:
    """What the operator says of memory: gigabytes of 1024³ bytes that may be used, None for what the device has, and how to lay models in."""

    gb: float | None = None
    choice: MemoryChoice = "automatic"


@dataclass(frozen=True)
class Fit:
    """`needed_bytes` lie on the device at once when the plan is followed."""

    plan: Plan
    needed_bytes: int
    is_possible: bool
    text: str


def fit(parts: Mapping[str, int], room: Room, choice: MemoryChoice = "automatic") -> Fit:
    """The quickest plan that fits, or what `choice` makes of it. `parts` are bytes by component, named as in a diffusers folder."""
    steps = ladder(parts, room)
    first = next((number for number, (_, needed) in enumerate(steps) if needed <= room.bytes), len(steps) - 1)
    wanted = {"automatic": first, "everything": 0, "lighter": min(first + 1, len(steps) - 1), "lightest": len(steps) - 1}
    plan, needed = steps[wanted[choice]]
    if needed > room.bytes:
        return Fit(plan, needed, False, f"needs {gigabytes(needed)} GB, and there are {gigabytes(room.bytes)}")
    how = "" if plan == "whole" else f", {plan}"
    return Fit(plan, needed, True, f"{gigabytes(needed)} of {gigabytes(room.bytes)} GB{how}")


def lighter(plan: Plan, parts: Mapping[str, int], room: Room) -> Plan | None:
    """The next plan below `plan` that draws the same picture; None where there is none."""
    plans: list[Plan] = [one for one, _ in ladder(parts, room) if one != "in 8 bits"]
    below = plans[plans.index(plan) + 1 :] if plan in plans else []
    return below[0] if below else None


def went_on(plan: Plan) -> str:
    """What a person is told when a job goes on under a lighter plan."""
    return f"Ran out of memory; went on with {_WENT_ON.get(plan, plan)}."


def ladder(parts: Mapping[str, int], room: Room) -> list[tuple[Plan, int]]:
    """Plans with the bytes that each needs on the device, each less than the one before.

    Where the device is the computer itself, a part that has to go is read from disk again.
    """
    total, work, largest = sum(parts.values()), work_bytes(parts), max(parts.values(), default=0)
    network = denoiser(parts)
    size = parts.get(network, 0)
    others = max((one for name, one in parts.items() if name != network), default=0)
    text = sum(one for name, one in parts.items() if is_text_encoder(name))
    if room.is_host:
        steps: list[tuple[Plan, int]] = [
            ("whole", total + work),
            ("one part at a time", largest + work),
            ("in 8 bits", max(others, size // 2) + work),
        ]
    else:
        steps = [
            ("whole", total + work),
            ("text encoder on CPU", total - text + work),
            ("one part at a time", largest + work),
            ("in pieces", int(size * STREAMED_SHARE) + work),
            ("in 8 bits", int(size * STREAMED_SHARE / 2) + work),
        ]
    return [one for number, one in enumerate(steps) if all(one[1] < above for _, above in steps[:number])]


def work_bytes(parts: Mapping[str, int]) -> int:
    """What a run needs beside the weights."""
    return min(max(int(parts.get(denoiser(parts), 0) * _WORK_SHARE), _WORK_LEAST), _WORK_MOST)


def denoiser(parts: Mapping[str, int]) -> str:
    """The name of the largest part that reads no words; "" where there is none."""
    return max((name for name in parts if not is_text_encoder(name)), key=lambda name: parts[name], default="")


def is_text_encoder(part: str) -> bool:
    return part.startswith("text_encoder")


def tile_edge(width: int, height: int, bytes_per_pixel: int, spare_bytes: int) -> int | None:
    """The edge of the tiles, in pixels, in which a picture is decoded; None where the whole of it fits into `spare_bytes`."""
    if width * height * bytes_per_pixel <= spare_bytes:
        return None
    edge = int((spare_bytes / bytes_per_pixel) ** 0.5) // _TILE_GRID * _TILE_GRID
    edge = max(edge, _TILE_LEAST)
    return edge if edge < max(width, height) else None


def gigabytes(count: int) -> str:
    """ "7.1", "0.3", "24": as memory is sold, in units of 1024³ bytes."""
    value = count / _GIB
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}".removesuffix(".0")
