"""How much memory the device has, asked without torch: the page says what fits before any worker is up."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import replace
from functools import lru_cache

from engine.contract.memory import Room
from engine.contract.memory_plans import DeviceKind

_ASK = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")


def find_room(device: str, gb: float | None = None) -> Room:
    """The memory of "cpu", "cuda:1", "auto" …, or `gb` of it. Where there is no GPU, or none that tells, it is the computer's own."""
    room = _found(device)
    return room if gb is None else replace(room, bytes=int(gb * 1024**3))


def device_kind(device: str) -> DeviceKind:
    """What "auto" or "cuda:1" is here. A device of a kind that is not known has no memory of its own."""
    if device.startswith("cuda"):
        return "cuda"
    if device == "auto" and not _found(device).is_host:
        return "cuda"
    is_mps = device.startswith("mps") or (device == "auto" and platform.system() == "Darwin" and platform.machine() == "arm64")
    return "mps" if is_mps else "cpu"


@lru_cache(maxsize=8)
def _found(device: str) -> Room:
    kind, _, number = device.partition(":")
    if kind in ("auto", "cuda") and (cards := _graphics_cards()):
        name, size = cards[min(int(number) if number.isdecimal() else 0, len(cards) - 1)]
        return Room(name, size, is_host=False)
    return Room("this computer", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), is_host=True)


def _graphics_cards() -> list[tuple[str, int]]:
    """(name, bytes) of each."""
    try:
        told = subprocess.run(_ASK, capture_output=True, text=True, timeout=10, check=True).stdout
        lines = [line.rpartition(",") for line in told.splitlines() if line.strip()]
        return [(name.strip(), int(size) * 1024**2) for name, _, size in lines]
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
