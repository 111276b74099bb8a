"""How much memory the device has, asked without torch: the page says what fits before any worker is up."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from functools import lru_cache

from engine.contract.memory import Room

_ASK = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")


def find_room(device: str, gb: float | None = None) -> Room:
    """The memory of "cpu", "cuda:1", "auto" …, or `gb` of it. Where there is no GPU, or none that tells, it is the computer's own."""
    room = _found(device)
    return room if gb is None else replace(room, bytes=int(gb * 1024**3))


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
