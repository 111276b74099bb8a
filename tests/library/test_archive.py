"""Zips that people bring, and choices in a prompt: bounded before they unfold, refused in one sentence."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine import Engine, InvalidRequest, Settings, expand_choices
from tests.conftest import OWNER
from tests.pictures import zipped


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Engine]:
    """An engine that was never started: keeping pictures needs no model."""
    engine = Engine(Settings(data=tmp_path, worker="inline"))
    yield engine
    engine.close()


def test_choices_of_a_prompt() -> None:
    assert expand_choices("a castle") == [("", "a castle")]
    assert expand_choices("a {red|blue} ship") == [("red", "a red ship"), ("blue", "a blue ship")]
    with pytest.raises(InvalidRequest, match="classes or more"):
        expand_choices("{a|b|c|d|e}" * 3)
    assert len(expand_choices("{" + "|" * 1_000_000)) == 1


BOMBS = {
    "a giant": (lambda: zipped({"a.png": bytes(65 * 1024 * 1024)}), "too large"),
    "many large ones": (lambda: zipped({f"{n}.png": bytes(41 * 1024 * 1024) for n in range(10)}), "too large"),
    "too many": (lambda: zipped({f"{n}.png": b"x" for n in range(65)}), "holds 65 pictures"),
    "no pictures": (lambda: zipped({"a.txt": b"x"}), "no pictures in this zip"),
    "no zip": (lambda: io.BytesIO(b"PK\x03\x04 and so on"), "cannot be opened"),
    "nothing": (lambda: io.BytesIO(b""), "cannot be opened"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_zips_that_would_unpack_too_far_are_refused(library: Engine, name: str) -> None:
    make, words = BOMBS[name]
    with pytest.raises(InvalidRequest, match=words) as caught:
        library.add_folder(make(), OWNER)
    assert caught.value.field == "source"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_with_flipped_bytes_never_lets_a_strange_error_out(library: Engine, method: int) -> None:
    rng = np.random.default_rng(method)
    whole = zipped({name: rng.integers(0, 30, 400, np.uint8).tobytes() for name in ("a.png", "b.png")}, method).getvalue()
    refused = 0
    for number in range(300):
        data = bytearray(whole if number % 5 else whole[: int(rng.integers(len(whole)))])
        for _ in range(int(rng.integers(1, 4)) if data else 0):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        try:
            library.add_folder(io.BytesIO(bytes(data)), OWNER)
        except InvalidRequest:
            refused += 1
    assert refused > 100
