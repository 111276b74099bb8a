"""Digests of large files: worked out once, known after a restart, and never believed of a file that has changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from engine.library import digests as module
from engine.library.catalogue import Catalogue
from engine.library.digests import Digests
from tests.diffusion.tiny import make_model


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound of one byte: nobody has to write gigabytes."""
    monkeypatch.setattr(module, "LARGE_BYTES", 1)
    monkeypatch.setattr("engine.library.catalogue.LARGE_BYTES", 1)


def test_a_digest_lasts_and_is_the_files_own(tmp_path: Path) -> None:
    file, notes = tmp_path / "weights.safetensors", tmp_path / "digests.json"
    file.write_bytes(b"some weights")
    first = Digests(notes)
    assert first.known(file) is None
    assert first.of(file) == hashlib.sha256(b"some weights").hexdigest()
    assert Digests(notes).known(file) == first.of(file)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    file, notes = tmp_path / "weights.safetensors", tmp_path / "digests.json"
    file.write_bytes(b"some weights")
    Digests(notes).of(file)
    file.write_bytes(b"more weights")
    os.utime(file, ns=(1, 1))
    assert Digests(notes).known(file) is None
    assert Digests(notes).of(file) == hashlib.sha256(b"more weights").hexdigest()


@pytest.mark.parametrize("spoilt", ["", "[]", '{"a": 3}', '{"a": [1]}', "no json"])
def test_spoilt_notes_cost_nothing_but_time(tmp_path: Path, spoilt: str) -> None:
    file, notes = tmp_path / "weights.safetensors", tmp_path / "digests.json"
    file.write_bytes(b"some weights")
    notes.write_text(spoilt)
    assert Digests(notes).of(file) == hashlib.sha256(b"some weights").hexdigest()


def test_a_large_model_is_listed_at_once_and_read_when_a_recipe_names_it(tmp_path: Path) -> None:
    make_model(tmp_path / "models" / "big", in_channels=4)
    shelf = Catalogue((tmp_path / "models",), Digests(tmp_path / "digests.json"))
    assert [card.content_hash for card in shelf.cards()] == [""]
    assert shelf.card("big").content_hash == ""
    pinned = shelf.pinned("big").content_hash
    assert len(pinned) == 64
    assert [card.content_hash for card in shelf.cards()] == [pinned]
    # As after a restart.
    assert Catalogue((tmp_path / "models",), Digests(tmp_path / "digests.json")).card("big").content_hash == pinned
