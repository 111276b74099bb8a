"""Room on the disk. The last of it is for the database: what became of a job can be written down when nothing else fits any more."""

from __future__ import annotations

import shutil
from pathlib import Path

from engine.contract.errors import DiskFull

_RESERVE_BYTES = 32 * 1024 * 1024


def check_room(folder: Path, bytes_needed: int = 0, *, what: str) -> None:
    """Raises `DiskFull` with `what` could not be done, where less than 32 MB, or an eighth of a small disk, would be left."""
    disk = shutil.disk_usage(_there(folder))
    if disk.free - bytes_needed < min(_RESERVE_BYTES, disk.total // 8):
        raise DiskFull(f"The disk is full; {what}.", "Free some space, then press Generate again.")


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder that may not be there yet."""
    return shutil.disk_usage(_there(folder)).free


def _there(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
