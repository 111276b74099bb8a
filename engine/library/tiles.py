"""Tiles of an enlargement that is under way, kept so that a stopped run goes on where it was."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from pathlib import Path
from typing import get_args

import numpy as np

from engine.contract.errors import DiskFull
from engine.contract.memory import Packing
from engine.contract.recipe import Recipe
from engine.contract.work import TilePixels
from engine.library.png import png
from engine.library.room import check_room

_PACKINGS: dict[str, Packing] = {one: one for one in get_args(Packing)}
_NAME = re.compile(rf"(\d+)-(\d+)(?:-({'|'.join(_PACKINGS)}))?\.png")
_KEPT_S = 7 * 24 * 3600


class FinishedTiles:
    """`root/<digest of the recipe>/<picture>-<tile>.png`, behind the tile how its weights were made smaller, where they were.

    The digest names everything else that decides a tile's bytes.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def keep(self, recipe: Recipe, tile: TilePixels) -> None:
        """Write aside, then rename. A full disk costs only the resuming, not the run."""
        folder = self._root / recipe.digest()
        target = folder / f"{'-'.join(str(one) for one in (tile.picture, tile.tile, tile.packing) if one is not None)}.png"
        aside = target.with_suffix(".part")
        with contextlib.suppress(OSError, DiskFull):
            check_room(self._root, len(tile.rgb), what="the tile could not be kept")
            folder.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(png(np.frombuffer(tile.rgb, np.uint8).reshape(tile.height, tile.width, 3)))
            aside.replace(target)

    def of(self, recipe: Recipe) -> dict[tuple[int, int, Packing | None], Path]:
        """Files by (picture, tile, how the weights lay that drew it)."""
        found: dict[tuple[int, int, Packing | None], Path] = {}
        for path in (self._root / recipe.digest()).glob("*.png"):
            if match := _NAME.fullmatch(path.name):
                found[int(match[1]), int(match[2]), _PACKINGS.get(match[3] or "")] = path
        return found

    def forget(self, recipe: Recipe) -> None:
        shutil.rmtree(self._root / recipe.digest(), ignore_errors=True)

    def sweep(self) -> None:
        """Forget what nobody came back for in a week."""
        for folder in self._root.glob("*"):
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > _KEPT_S:
                    shutil.rmtree(folder, ignore_errors=True)
