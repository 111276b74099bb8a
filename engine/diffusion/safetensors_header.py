"""A safetensors file is judged by its header before any library opens it. Nothing here allocates tensors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

from engine.contract.errors import DamagedFile

HEADER_MAX_BYTES = 8 * 1024 * 1024
TENSORS_MAX = 20_000
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
}  # fmt: skip


def check_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by tensor name. Raises `DamagedFile` unless header, offsets and file size agree to the byte."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length < 2 or length > HEADER_MAX_BYTES or 8 + length > size:
            raise _damaged(path, "its header has an impossible length")
        raw = file.read(length)
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not readable") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a table")
    entries = {name: entry for name, entry in cast(dict[str, Any], header).items() if name != "__metadata__"}
    if not 0 < len(entries) <= TENSORS_MAX:
        raise _damaged(path, f"it names {len(entries)} tensors")
    return _check_entries(path, entries, size - 8 - length)


def _check_entries(path: Path, entries: dict[str, Any], data_bytes: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in entries.items():
        try:
            bits, shape = _BITS[entry["dtype"]], tuple(entry["shape"])
            start, end = entry["data_offsets"]
            is_sound = all(type(n) is int and n >= 0 for n in (*shape, start, end)) and (end - start) * 8 == math.prod(shape) * bits
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path, f"tensor {name[:60]!r} is described wrongly") from error
        if not is_sound:
            raise _damaged(path, f"tensor {name[:60]!r} does not fit its own size")
        shapes[name] = shape
        spans.append((start, end))
    position = 0
    for start, end in sorted(spans):
        if start != position:
            raise _damaged(path, "its tensors overlap or leave gaps")
        position = end
    if position != data_bytes:
        raise _damaged(path, "it is cut short or has something appended")
    return shapes


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("duplicate key")
    return table


def _damaged(path: Path, why: str) -> DamagedFile:
    return DamagedFile(f"The file {path.name} is damaged: {why}.", "Copy or download it again.", "model")
