"""Picture files: written aside, synced, then renamed, so a listed picture is always whole."""

from __future__ import annotations

import contextlib
import errno
import os
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.contract.errors import DiskFull
from engine.contract.recipe import Recipe
from engine.library.carriers import png_info
from engine.library.metadata import texts_of
from engine.library.png import png
from engine.library.room import check_room


def write_picture(root: Path, *, picture_id: str, pixels: NDArray[np.uint8], recipe: Recipe, now: datetime) -> Path:
    """Write `pixels`, (height, width, 3) RGB, to `root/YYYY-MM-DD/<id>.png` with the recipe inside and return its path. Raises `DiskFull`."""
    folder = root / now.strftime("%Y-%m-%d")
    target = folder / f"{picture_id}.png"
    aside = folder / f".{picture_id}.part"
    # As large as it can get: noise does not shrink.
    check_room(root, pixels.nbytes, what="the picture could not be kept")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        content = png(pixels, png_info(texts_of(recipe)))
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("The disk is full; the picture could not be kept.", "Free some space, then press Generate again.") from error
        raise DiskFull(f"The picture could not be written ({error.strerror}).", "Check that the data folder can be written to.") from error
    return target
