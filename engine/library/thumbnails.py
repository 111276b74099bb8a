"""Small JPEGs: of the picture beside an adapter (a file of the same name in its folder), and of finished pictures."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageOps

from engine.contract.errors import InvalidRequest
from engine.library.uploads import BYTES_MAX, read_upload

EDGE = 128
# The tray shows them at 100 px and more, on screens of two pixels to one.
_PICTURE_EDGE = 224
_SUFFIXES = (".preview.png", ".png", ".jpg", ".jpeg", ".webp", ".preview.jpg")


def find_picture(path: Path) -> Path | None:
    """The picture of an adapter's file, by the names that collections of adapters use."""
    for suffix in _SUFFIXES:
        if (beside := path.with_name(path.stem + suffix)).is_file():
            return beside
    return None


def stamp(path: Path) -> str:
    """Changes with the file: an address with it may be kept for ever."""
    stat = path.stat()
    return f"{stat.st_mtime_ns:x}-{stat.st_size:x}"


def thumbnail(path: Path) -> bytes | None:
    """A square JPEG; None for a file that is no picture."""
    stat = path.stat()
    return _thumbnail(str(path), stat.st_size, stat.st_mtime_ns) if stat.st_size <= BYTES_MAX else None


@lru_cache(maxsize=128)
def _thumbnail(name: str, _size: int, _mtime: int) -> bytes | None:
    try:
        image, _ = read_upload(Path(name).read_bytes())
    except (InvalidRequest, OSError):
        return None
    target = io.BytesIO()
    ImageOps.fit(image, (EDGE, EDGE), Image.Resampling.LANCZOS).save(target, "JPEG", quality=84)
    return target.getvalue()


def small_picture(path: Path) -> bytes | None:
    """A square JPEG of a finished picture, which never changes; None when its file is gone."""
    try:
        return _small_picture(str(path))
    except OSError:
        return None


@lru_cache(maxsize=1024)
def _small_picture(name: str) -> bytes:
    # About 10 kB each: the newest thousand of all visitors stay in memory.
    with Image.open(name) as image:
        target = io.BytesIO()
        ImageOps.fit(image.convert("RGB"), (_PICTURE_EDGE, _PICTURE_EDGE), Image.Resampling.LANCZOS).save(target, "JPEG", quality=82)
        return target.getvalue()
