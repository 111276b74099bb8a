"""The header of a safetensors file, for shelves that judge files without loading them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEADER_MAX_BYTES = 8 * 1024 * 1024
_WORD_MAX = 300


@dataclass(frozen=True)
class Header:
    """`words` are what its maker wrote into it, cut to a line; `shapes` are the sizes of its tensors by name."""

    words: dict[str, str]
    shapes: dict[str, tuple[int, ...]]


def read_header(path: Path) -> Header | None:
    """None for a file that is cut short, or no safetensors file at all. Nothing of it is trusted to be small or sane."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= HEADER_MAX_BYTES or 8 + length > size:
            return None
        raw = file.read(length)
    try:
        table = json.loads(raw)
        own = table.pop("__metadata__", {})
        shapes = {str(name): tuple(int(edge) for edge in entry["shape"]) for name, entry in table.items()}
        end = max((int(entry["data_offsets"][1]) for entry in table.values()), default=0)
    except (ValueError, RecursionError, AttributeError, KeyError, IndexError, TypeError):
        return None
    if end != size - 8 - length:
        return None
    return Header(_words(own), shapes)


def _words(own: Any) -> dict[str, str]:
    return {str(key): str(value)[:_WORD_MAX] for key, value in own.items()} if isinstance(own, dict) else {}
