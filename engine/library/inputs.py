"""Pictures and masks that people bring: kept once under the hash of their pixels, used by whoever brought them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from engine.contract.errors import DiskFull, NotFound
from engine.contract.results import InputImage
from engine.library.png import png
from engine.library.room import check_room
from engine.store import Store
from engine.store import inputs_table as inputs

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Inputs:
    """`root/<hash>.png`. A file never changes: its name is what is in it."""

    def __init__(self, store: Store, root: Path) -> None:
        self._store = store
        self._root = root

    def add(self, image: Image.Image, owner: str, *, note: str = "") -> InputImage:
        """Keep an RGB picture or an "L" mask. Raises `DiskFull`."""
        pixels = np.asarray(image)
        digest = content_hash(pixels)
        if not self.path(digest).is_file():
            check_room(self._root, pixels.nbytes, what="the picture could not be kept")
            self._write(digest, pixels)
        self._own(digest, owner, image.size)
        return InputImage(hash=digest, width=image.width, height=image.height, note=note)

    def get(self, digest: str, owner: str | None, *, field: str) -> InputImage:
        """One input; with an owner, only if they brought it. Raises `NotFound` that names the control."""
        query = select(inputs).where(inputs.c.hash == digest)
        if owner is not None:
            query = query.where(inputs.c.owner == owner)
        with self._store.connect() as db:
            row = db.execute(query.limit(1)).mappings().one_or_none()
        if row is None or not self.path(digest).is_file():
            names = {
                "mask": "mask",
                "controls": "picture of a control unit",
                "references": "reference picture",
                "pictures": "picture beside the source",
            }
            what = names.get(field, "source picture")
            raise NotFound(f"The {what} is not here any more.", "Choose it again.", field)
        return InputImage(hash=digest, width=row["width"], height=row["height"])

    def lend(self, digest: str, owner: str, *, note: str = "") -> InputImage | None:
        """An input that is here already, for one more owner; None when it is not."""
        size = self.size(digest)
        if size is None or not self.path(digest).is_file():
            return None
        self._own(digest, owner, size)
        return InputImage(hash=digest, width=size[0], height=size[1], note=note)

    def size(self, digest: str) -> tuple[int, int] | None:
        """(width, height) of an input; None when nobody has brought it."""
        query = select(inputs.c.width, inputs.c.height).where(inputs.c.hash == digest).limit(1)
        with self._store.connect() as db:
            row = db.execute(query).one_or_none()
        return None if row is None else (row[0], row[1])

    def mask(self, digest: str) -> NDArray[np.uint8]:
        """(height, width) uint8 of a mask that was kept. Raises `NotFound`."""
        pixels = cv2.imread(str(self.path(digest)), cv2.IMREAD_GRAYSCALE)
        if pixels is None:
            raise NotFound("The mask is not here any more.", "Paint it again.", "mask")
        return np.asarray(pixels, np.uint8)

    def bytes_of(self, owner: str) -> int:
        """Bytes on disk of everything that an owner has brought."""
        with self._store.connect() as db:
            digests = list(db.execute(select(inputs.c.hash).where(inputs.c.owner == owner)).scalars())
        return sum(path.stat().st_size for path in map(self.path, digests) if path.is_file())

    def path(self, digest: str) -> Path:
        """Where an input lies, whether it is there or not. Raises `NotFound` for what is no name of one."""
        if not _DIGEST.fullmatch(digest):
            raise NotFound("There is no such picture.", "Choose it again.", "source")
        return self._root / f"{digest}.png"

    def _own(self, digest: str, owner: str, size: tuple[int, int]) -> None:
        row = {"hash": digest, "owner": owner, "width": size[0], "height": size[1], "created_at": time.time()}
        # They may have brought it before.
        with contextlib.suppress(IntegrityError), self._store.begin() as db:
            db.execute(insert(inputs).values(row))

    def _write(self, digest: str, pixels: NDArray[np.uint8]) -> None:
        target, aside = self.path(digest), self._root / f".{secrets.token_hex(8)}.part"
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            content = png(pixels)
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise DiskFull(f"The picture could not be kept ({error.strerror}).", "Free some space, then try again.") from error


def content_hash(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 over shape and pixels: the same picture has the same name whatever file it came in."""
    total = hashlib.sha256(repr(pixels.shape).encode())
    total.update(np.ascontiguousarray(pixels).data)
    return total.hexdigest()
