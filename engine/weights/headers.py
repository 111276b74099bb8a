"""A safetensors file is judged by its header before any library opens it. Nothing here allocates tensors."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from engine.contract.errors import DamagedFile

HEADER_MAX_BYTES = 8 * 1024 * 1024
TENSORS_MAX = 20_000
_WORD_MAX = 300
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
}  # fmt: skip

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Header:
    """`words` are what its maker wrote into it, cut to a line; `shapes` are the sizes of its tensors by name, `kinds` their numbers ("BF16")."""

    words: dict[str, str]
    shapes: Shapes
    kinds: dict[str, str] = field(default_factory=dict[str, str])


def judge_header(path: Path) -> Header:
    """Raises `DamagedFile` unless header, offsets and file size agree to the byte. Nothing of it is trusted to be small or sane."""
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
    entries = cast(dict[str, Any], header)
    own = entries.pop("__metadata__", {})
    if not 0 < len(entries) <= TENSORS_MAX:
        raise _damaged(path, f"it names {len(entries)} tensors")
    words = {str(key): str(value)[:_WORD_MAX] for key, value in own.items()} if isinstance(own, dict) else {}
    shapes = _check_entries(path, entries, size - 8 - length)
    return Header(words, shapes, {name: entry["dtype"] for name, entry in entries.items()})


def read_header(path: Path) -> Header | None:
    """The same for shelves, whose cards say what is wrong with a file: None for one that is cut short, or no safetensors file at all."""
    try:
        return judge_header(path)
    except DamagedFile:
        return None


def read_vector(path: Path, name: str) -> np.ndarray:
    """The values of one tensor in 8, 16 or 32 bit, flat. For a file that was judged; raises `DamagedFile` for other kinds of numbers."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
        start, end = entry["data_offsets"]
        file.seek(8 + length + start)
        raw = file.read(end - start)
    match entry["dtype"]:
        case "F32":
            return np.frombuffer(raw, "<f4")
        case "F16":
            return np.frombuffer(raw, "<f2").astype(np.float32)
        case "BF16":
            # The upper half of a number in 32 bit.
            return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        case "F8_E5M2":
            # The upper half of a number in 16 bit.
            return (np.frombuffer(raw, "u1").astype(np.uint16) << 8).view(np.float16).astype(np.float32)
        case "F8_E4M3":
            return _E4M3[np.frombuffer(raw, "u1")]
        case kind:
            raise _damaged(path, f"tensor {name[:60]!r} has numbers of an unusual kind ({kind})")


def _e4m3() -> np.ndarray:
    """What each byte means as one sign, four bits of exponent and three of fraction (Micikevicius et al. 2022)."""
    byte = np.arange(256)
    exponent, fraction = byte >> 3 & 15, byte & 7
    size = np.where(exponent > 0, (8 + fraction) * 2.0 ** (exponent - 10.0), fraction * 2.0**-9)
    size[(byte & 127) == 127] = np.nan
    return np.where(byte & 128, -size, size).astype(np.float32)


_E4M3 = _e4m3()


def _check_entries(path: Path, entries: dict[str, Any], data_bytes: int) -> Shapes:
    shapes: Shapes = {}
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
