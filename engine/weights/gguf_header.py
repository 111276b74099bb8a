"""A GGUF file is judged by its header before any library opens it: names and shapes of its tensors, and whether they all lie inside the file.

The format is that of version 2 and 3 (ggml-org/ggml, docs/gguf.md). Nothing of it is trusted to be small or sane.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import BinaryIO

from engine.contract.errors import DamagedFile
from engine.weights.headers import HEADER_MAX_BYTES, TENSORS_MAX, Header, Shapes

_MAGIC, _VERSIONS = b"GGUF", (2, 3)
_FIELDS_MAX, _EDGES_MAX = 4096, 4
# Values in a block and the bytes that they take, by the number of a type.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110), 12: (256, 144),
    13: (256, 176), 14: (256, 210), 30: (1, 2),
}  # fmt: skip
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


def judge_gguf(path: Path) -> Header:
    """Raises `DamagedFile` unless every tensor lies inside the file, in a kind of numbers that can be read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            return _Reader(file, path, size).header()
        except (struct.error, ValueError, OverflowError) as error:
            raise _damaged(path, "its header is not readable") from error


class _Reader:
    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self._file, self._path, self._size = file, path, size

    def header(self) -> Header:
        if self._bytes(4) != _MAGIC or self._number("I") not in _VERSIONS:
            raise _damaged(self._path, "it does not begin like one")
        tensors, fields = self._number("Q"), self._number("Q")
        if not 0 < tensors <= TENSORS_MAX or fields > _FIELDS_MAX:
            raise _damaged(self._path, f"it names {tensors} tensors")
        words: dict[str, str] = {}
        for _ in range(fields):
            name = self._text()
            words[name] = self._value(self._number("I"))
        shapes, ends = self._tensors(tensors)
        alignment = int(words.get("general.alignment", "32") or 32)
        start = -(-self._file.tell() // max(alignment, 1)) * max(alignment, 1)
        if start + max(ends) > self._size:
            raise _damaged(self._path, "it is cut short")
        return Header({name: text[:300] for name, text in words.items()}, shapes)

    def _tensors(self, count: int) -> tuple[Shapes, list[int]]:
        shapes: Shapes = {}
        ends: list[int] = []
        for _ in range(count):
            name, edges = self._text(), self._number("I")
            if edges > _EDGES_MAX or name in shapes:
                raise _damaged(self._path, f"tensor {name[:60]!r} is described wrongly")
            # The innermost edge stands first.
            shape = tuple(reversed([self._number("Q") for _ in range(edges)]))
            kind, offset = self._number("I"), self._number("Q")
            if kind not in _BLOCKS:
                message = f"{self._path.name} is quantised in a way that cannot be read here (type {kind})."
                raise DamagedFile(message, "Get it as Q8_0, Q6_K, Q5_K, Q4_K or F16.", "model")
            values, taken = _BLOCKS[kind]
            if math.prod(shape) % values:
                raise _damaged(self._path, f"tensor {name[:60]!r} does not fit its own size")
            shapes[name] = shape
            ends.append(offset + math.prod(shape) // values * taken)
        return shapes, ends

    def _value(self, kind: int) -> str:
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY:
            inner, count = self._number("I"), self._number("Q")
            if inner == _ARRAY or count > HEADER_MAX_BYTES:
                raise _damaged(self._path, "its header is not readable")
            for _ in range(count):
                self._value(inner)
            return ""
        if kind not in _SCALARS:
            raise _damaged(self._path, "its header is not readable")
        return str(self._number(_SCALARS[kind]))

    def _text(self) -> str:
        return self._bytes(self._number("Q")).decode("utf-8")

    def _number(self, kind: str) -> int:
        return struct.unpack(f"<{kind}", self._bytes(struct.calcsize(f"<{kind}")))[0]

    def _bytes(self, count: int) -> bytes:
        if self._file.tell() + count > min(self._size, HEADER_MAX_BYTES):
            raise _damaged(self._path, "its header has an impossible length")
        return self._file.read(count)


def _damaged(path: Path, why: str) -> DamagedFile:
    return DamagedFile(f"The file {path.name} is damaged: {why}.", "Copy or download it again.", "model")
