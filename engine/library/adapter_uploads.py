"""A LoRA file that somebody brings: judged before it lies where requests can name it. Nothing of it is run, and nothing is loaded."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from engine.contract.adapters import LoraCard
from engine.contract.errors import DamagedFile, DiskFull, IncompatibleAdapter, InvalidRequest

BYTES_MAX = 1024**3
_CHUNK = 1024 * 1024
_HEADER_MAX = 8 * 1024 * 1024
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


def plain_name(name: str) -> str:
    """The name of the adapter in a file's name, in the letters that a request may name. Raises `InvalidRequest`."""
    stem, suffix = os.path.splitext(name.replace("\\", "/").rsplit("/", 1)[-1].strip())
    if suffix.lower() != ".safetensors":
        raise InvalidRequest("This is no .safetensors file.", "Other formats can hide programs; ask for the adapter as safetensors.", "loras")
    if not (plain := _ODD.sub("-", stem).strip("-.")[:64]):
        raise InvalidRequest("This file has no name that a prompt could use.", "Rename it: letters, digits, dots, dashes and underscores.", "loras")
    return plain


def keep_lora(folder: Path, name: str, data: BinaryIO, judge: Callable[[Path], LoraCard]) -> Path:
    """Write aside, judge, then rename: a file that is refused was never there.

    Raises `InvalidRequest`, `DamagedFile`, `IncompatibleAdapter` or `DiskFull`, all about the control "loras".
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".bringing-") as aside:
        path = Path(aside) / f"{name}.safetensors"
        try:
            _copy(data, path)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DiskFull(
                "There is no room left for this adapter.", "Free some space on the studio's disk, then bring it again.", "loras"
            ) from error
        judged(path, name, judge)
        return path.rename(folder / path.name)


def judged(path: Path, name: str, judge: Callable[[Path], LoraCard]) -> LoraCard:
    """The card of a file that lies aside, read to its end. Raises `DamagedFile` or `IncompatibleAdapter`."""
    _check_whole(path, name)
    card = judge(path)
    if card.refusal is not None:
        raise IncompatibleAdapter(f"The LoRA {name} cannot be used: {card.refusal}", "Choose another one.", "loras")
    return card


def _copy(data: BinaryIO, path: Path) -> None:
    total = 0
    with path.open("wb") as target:
        while part := data.read(_CHUNK):
            total += len(part)
            if total > BYTES_MAX:
                raise InvalidRequest("This file is too large.", f"A LoRA has at most {BYTES_MAX // 1024**3} GB here.", "loras")
            target.write(part)


def _check_whole(path: Path, name: str) -> None:
    """Header and bytes agree, and every number is one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        raw = file.read(length) if 2 <= length <= _HEADER_MAX else b""
    try:
        header: dict[str, Any] = json.loads(raw)
        entries = [(str(entry["dtype"]), *map(int, entry["data_offsets"])) for key, entry in header.items() if key != "__metadata__"]
        is_whole = max(end for _, _, end in entries) == size - 8 - length and all(0 <= start <= end for _, start, end in entries)
        is_sound = is_whole and all(_is_finite(path, kind, 8 + length + start, end - start) for kind, start, end in entries)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_whole = is_sound = False
    if not is_whole:
        raise DamagedFile(f"The file of {name} is damaged or no safetensors file.", "Download it again.", "loras")
    if not is_sound:
        raise DamagedFile(f"The LoRA {name} holds numbers that are none.", "Whoever trained it has to mend it; choose another one.", "loras")


def _is_finite(path: Path, kind: str, start: int, length: int) -> bool:
    """Whether no number is NaN or infinite. bfloat16 is read by its exponent."""
    if not length:
        return True
    if kind in _FLOATS:
        return bool(np.isfinite(np.memmap(path, _FLOATS[kind], "r", start, (length // np.dtype(_FLOATS[kind]).itemsize,))).all())
    if kind == "BF16":
        bits = np.memmap(path, "<u2", "r", start, (length // 2,))
        return not bool(((bits & 0x7F80) == 0x7F80).any())
    return True
