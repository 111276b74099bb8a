"""Tiles of an enlargement that is under way, kept so that a stopped run goes on where it was."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from pathlib import Path

from PIL import Image

from engine.contract.errors import DiskFull
from engine.contract.recipe import Recipe
from engine.contract.work import TilePixels
from engine.library.room import check_room

_NAME = re.compile(r"(\d+)-(\d+)\.png")
_KEPT_S = 7 * 24 * 3600


class FinishedTiles:
    """`root/<digest of the recipe>/<picture>-<tile>.png`. The digest names everything that decides a tile's bytes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def keep(self, recipe: Recipe, tile: TilePixels) -> None:
        """Write aside, then rename. A full disk costs only the resuming, not the run."""
        folder = self._root / recipe.digest()
        target = folder / f"{tile.picture}-{tile.tile}.png"
        aside = target.with_suffix(".part")
        with contextlib.suppress(OSError, DiskFull):
            check_room(self._root, len(tile.rgb), what="the tile could not be kept")
            folder.mkdir(parents=True, exist_ok=True)
            Image.frombytes("RGB", (tile.width, tile.height), tile.rgb).save(aside, format="PNG", compress_level=1)
            aside.replace(target)

    def of(self, recipe: Recipe) -> dict[tuple[int, int], Path]:
        """Files by (picture, tile)."""
        found: dict[tuple[int, int], Path] = {}
        for path in (self._root / recipe.digest()).glob("*.png"):
            if match := _NAME.fullmatch(path.name):
                found[int(match[1]), int(match[2])] = path
        return found

    def forget(self, recipe: Recipe) -> None:
        shutil.rmtree(self._root / recipe.digest(), ignore_errors=True)

    def sweep(self) -> None:
        """Forget what nobody came back for in a week."""
        for folder in self._root.glob("*"):
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > _KEPT_S:
                    shutil.rmtree(folder, ignore_errors=True)
