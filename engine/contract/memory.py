"""How a model is laid into the memory at hand, decided before anything is loaded: a rule of thumb over the sizes of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

# From the quickest to the one that takes the least. All but the last draw the same picture, bit for bit.
Plan = Literal["whole", "text encoder on CPU", "one part at a time", "in pieces", "in 8 bits"]
# How weights are kept smaller than they were trained: cast to 8 bits layer by layer, or quantised (by torchao, by bitsandbytes).
Packing = Literal["fp8", "int8", "nf4"]
# What an operator says: "automatic" is the quickest plan that fits, the next five are the plans by name, the others
# quantise the large parts and lay what is left in automatically. A plan that a model or device cannot have is the next one below it.
MemoryChoice = Literal["automatic", "everything", "encoders-on-cpu", "parts", "pieces", "fp8", "int8", "nf4"]

# What a run needs beside the weights: a share of the denoiser for its activations, and a decoder that works in tiles.
_WORK_SHARE, _WORK_LEAST, _WORK_MOST = 0.25, 200 * 1024**2, 3 * 1024**3 // 2
# Streamed, some blocks of the denoiser lie on the device at a time.
STREAMED_SHARE = 0.15
_GIB = 1024**3
_PLANS: tuple[Plan, ...] = get_args(Plan)
_PLAN_OF: Mapping[MemoryChoice, Plan] = {
    "everything": "whole",
    "encoders-on-cpu": "text encoder on CPU",
    "parts": "one part at a time",
    "pieces": "in pieces",
    "fp8": "in 8 bits",
}
_PACKING_OF: Mapping[MemoryChoice, Packing] = {"int8": "int8", "nf4": "nf4"}
# What quantised numbers take of 16 bits, their scales included: one for each row, or one for each 64 numbers.
_PACKED_SHARE: Mapping[Packing, float] = {"fp8": 0.5, "int8": 0.51, "nf4": 0.28}
_PACKED_WORDS: Mapping[Packing, str] = {"fp8": "in 8 bits", "int8": "quantised to 8 bits", "nf4": "quantised to 4 bits"}
# Only linear layers are quantised: nearly all of a transformer, most of SDXL's UNet, a third of the one of Stable Diffusion 1.
# A text encoder keeps its list of words as it is.
_LINEAR_SHARE = {"transformer": 0.95, "text encoder": 0.86, "two encoders": 0.86, "unet": 0.32}
# A text encoder below this is not worth the loss.
_PACKED_LEAST = _GIB
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
    # How the large parts are quantised; None where they are as they were trained, or cast as the plan says.
    packing: Packing | None = None

    @property
    def weights(self) -> Packing | None:
        """The same with what the plan casts: None where every number is as it was trained."""
        return "fp8" if self.plan == "in 8 bits" else self.packing


def fit(parts: Mapping[str, int], room: Room, choice: MemoryChoice = "automatic") -> Fit:
    """The quickest plan that fits, or what `choice` makes of it. `parts` are bytes by component, named as in a diffusers folder."""
    packing = packing_of(choice)
    steps = ladder(packed(parts, packing), room)
    if packing is not None:
        # What is quantised already is not cast once more.
        steps = [one for one in steps if one[0] != "in 8 bits"]
    plan, needed = steps[_step(steps, room, choice)]
    how = "".join(f", {word}" for word in (_PACKED_WORDS[packing] if packing else "", "" if plan == "whole" else plan) if word)
    if needed > room.bytes:
        return Fit(plan, needed, False, f"needs {gigabytes(needed)} GB, and there are {gigabytes(room.bytes)}", packing)
    return Fit(plan, needed, True, f"{gigabytes(needed)} of {gigabytes(room.bytes)} GB{how}", packing)


def _step(steps: list[tuple[Plan, int]], room: Room, choice: MemoryChoice) -> int:
    """The number of the step that is wanted: by name it may be one that the ladder lacks, else the first that fits."""
    wanted = _PLAN_OF.get(choice)
    found = (
        (number for number, (_, needed) in enumerate(steps) if needed <= room.bytes)
        if wanted is None
        else (number for number, (plan, _) in enumerate(steps) if _PLANS.index(plan) >= _PLANS.index(wanted))
    )
    return next(found, len(steps) - 1)


def weights_words(packing: Packing | None) -> str:
    """How weights lie, to go behind "weights"."""
    return "as they were trained" if packing is None else _PACKED_WORDS[packing]


def on_other_weights(drawn: Packing | None, here: Packing | None) -> str:
    """What whoever draws a picture again should know, where its weights would lie in another way; "" where they would not."""
    if drawn == here:
        return ""
    return f"This picture was drawn with weights {weights_words(drawn)}; here they are {weights_words(here)}, so small things will differ."


def on_changed_weights(begun: Packing | None, now: Packing | None) -> str:
    """What a person is told whose picture was put aside under one plan and is taken up under another."""
    return f"This picture was begun with weights {weights_words(begun)}; now they are {weights_words(now)}, so it is drawn from its beginning."


def packing_of(choice: MemoryChoice) -> Packing | None:
    """How large parts are quantised where an operator chose so."""
    return _PACKING_OF.get(choice)


def packed(parts: Mapping[str, int], packing: Packing | None) -> dict[str, int]:
    """Bytes by component once those of `packed_parts` are quantised: a rule of thumb over their names."""
    small = packed_parts(parts) if packing is not None else frozenset[str]()
    share = _PACKED_SHARE[packing] if packing is not None else 1.0
    return {name: int(size * (1 - _linear_share(name, parts) * (1 - share))) if name in small else size for name, size in parts.items()}


def packed_parts(parts: Mapping[str, int]) -> frozenset[str]:
    """What is quantised: the denoiser, and text encoders that are large."""
    return frozenset({denoiser(parts), *(name for name, size in parts.items() if is_text_encoder(name) and size >= _PACKED_LEAST)} & parts.keys())


def _linear_share(name: str, parts: Mapping[str, int]) -> float:
    if name != "unet":
        return _LINEAR_SHARE["text encoder" if is_text_encoder(name) else "transformer"]
    return _LINEAR_SHARE["two encoders" if "text_encoder_2" in parts else "unet"]


def lighter(plan: Plan, parts: Mapping[str, int], room: Room) -> Plan | None:
    """The next plan below `plan` that draws the same picture; None where there is none. `parts` as they are packed."""
    plans: list[Plan] = [one for one, _ in ladder(parts, room) if one != "in 8 bits"]
    return next((one for one in plans if _PLANS.index(one) > _PLANS.index(plan)), None)


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
