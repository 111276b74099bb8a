"""Picture files: written aside, synced, then renamed, so a listed picture is always whole."""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from datetime import datetime
from pathlib import Path

from PIL import Image

from engine.contract.errors import DiskFull
from engine.contract.recipe import Recipe
from engine.library.carriers import png_info
from engine.library.metadata import texts_of
from engine.library.room import check_room


def write_picture(root: Path, *, picture_id: str, image: Image.Image, recipe: Recipe, now: datetime) -> Path:
    """Write `root/YYYY-MM-DD/<id>.png` with the recipe inside and return its path. Raises `DiskFull`."""
    folder = root / now.strftime("%Y-%m-%d")
    target = folder / f"{picture_id}.png"
    aside = folder / f".{picture_id}.part"
    # As large as it can get: noise does not shrink.
    check_room(root, image.width * image.height * 3, what="the picture could not be kept")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            # Behind PNG's filters runs are all there is to find: 4 times quicker than the default, and 1 % larger.
            image.save(file, format="PNG", pnginfo=png_info(texts_of(recipe)), compress_level=1, compress_type=zlib.Z_RLE)
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
