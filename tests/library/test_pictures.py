"""Files are whole or absent, carry their recipe, and names never leave the folder."""

from __future__ import annotations

import errno
import io
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine import DamagedFile, DiskFull, NotFound, Recipe
from engine.library.metadata import read_recipe
from engine.library.pictures import write_picture
from engine.library.safe_path import safe_path

RECIPE = Recipe(
    model="starter",
    model_hash="00" * 32,
    prompt='a "red" castle\n🏰 <b>',
    negative_prompt="blurry",
    steps=4,
    guidance_scale=4.5,
    scheduler="euler_a",
    width=64,
    height=64,
    seed=5,
    count=1,
)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_the_recipe_comes_back_from_the_file(tmp_path: Path) -> None:
    path = write_picture(tmp_path, picture_id="abc", pixels=np.full((64, 64, 3), (255, 0, 0), np.uint8), recipe=RECIPE, now=NOW)
    assert path == tmp_path / "2026-01-02" / "abc.png"
    assert read_recipe(path) == RECIPE
    with Image.open(path) as image:
        text = str(image.info["parameters"])
    assert text.startswith(RECIPE.prompt)
    assert "Negative prompt: blurry" in text
    assert "Steps: 4, Sampler: Euler a, CFG scale: 4.5, Seed: 5, Size: 64x64" in text


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(DiskFull, match="disk is full"):
        write_picture(tmp_path, picture_id="abc", pixels=np.zeros((64, 64, 3), np.uint8), recipe=RECIPE, now=NOW)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"<svg/>"])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DamagedFile):
        read_recipe(tmp_path / "x.png")


def test_a_picture_without_a_recipe_says_so() -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, format="PNG")
    file.seek(0)
    with pytest.raises(DamagedFile, match="carries no recipe"):
        read_recipe(file)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../x", "a\\b", "x" * 65, "a\0b", "ü", "C:", "~", "%2e%2e", "a b", "/etc/passwd"])
def test_names_that_are_no_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound):
        safe_path(tmp_path, name)


def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    with pytest.raises(NotFound):
        safe_path(tmp_path / "root", "link")
