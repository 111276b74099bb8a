"""The header of a safetensors file, for shelves whose cards say what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

from engine.contract.errors import DamagedFile
from engine.weights.headers import Header, judge_header

__all__ = ["Header", "read_header"]


def read_header(path: Path) -> Header | None:
    """None for a file that is cut short, or no safetensors file at all."""
    try:
        return judge_header(path)
    except DamagedFile:
        return None
