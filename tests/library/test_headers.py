"""Damaged model files are refused from their header, in words, in no time."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import DamagedFile
from engine.weights.headers import judge_header
from tests.conftest import STARTER
from tests.faults.figures import Figures


def file_of(header: object, data: bytes = b"\0" * 8) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def tensor(start: int = 0, end: int = 8, dtype: str = "F32", shape: tuple[int, ...] = (2,)) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


BAD: dict[str, bytes] = {
    "empty": b"",
    "short": b"\1\0",
    "pickle": b"\x80\x02}q\x00." * 20,
    "header longer than the file": struct.pack("<Q", 10**6) + b"{}",
    "header of 60 MB": struct.pack("<Q", 60 * 2**20) + b"{" * 100,
    "no json": file_of(b"{{{{{{{{"),
    "a list": file_of([1, 2]),
    "no tensors": file_of({}),
    "duplicate names": file_of(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
    "unknown dtype": file_of({"a": tensor(dtype="P99")}),
    "size and shape disagree": file_of({"a": tensor(shape=(3,))}),
    "negative shape": file_of({"a": tensor(shape=(-2,))}),
    "gap": file_of({"a": tensor(), "b": tensor(16, 24)}, b"\0" * 24),
    "overlap": file_of({"a": tensor(), "b": tensor(4, 12)}, b"\0" * 12),
    "cut": file_of({"a": tensor()}, b"\0" * 7),
    "appended": file_of({"a": tensor()}, b"\0" * 9),
    "deep nesting": file_of(b"[" * 100_000),
    "entry is no table": file_of({"a": 5}),
}


@pytest.mark.fault("damaged model")
@pytest.mark.parametrize("name", BAD)
@pytest.mark.timed
def test_a_damaged_file_is_refused_at_once(tmp_path: Path, name: str, figure: Figures) -> None:
    """18 kinds of damage in the header of a weight file"""
    path = tmp_path / "model.safetensors"
    path.write_bytes(BAD[name])
    start = time.perf_counter()
    with pytest.raises(DamagedFile, match=r"model\.safetensors"):
        judge_header(path)
    figure("refused after", time.perf_counter() - start, "s", at_most=1)


def test_the_starters_own_files_pass() -> None:
    files = list(STARTER.rglob("*.safetensors"))
    assert len(files) >= 3
    assert sum(len(judge_header(path).shapes) for path in files) > 300


@pytest.mark.parametrize("spoil", [lambda b: b[:-100], lambda b: b + b"x"], ids=["truncated", "appended"])
def test_a_truncated_model_is_refused(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    source = next(STARTER.rglob("vae/*.safetensors"))
    (tmp_path / "copy.safetensors").write_bytes(spoil(source.read_bytes()))
    with pytest.raises(DamagedFile):
        judge_header(tmp_path / "copy.safetensors")
