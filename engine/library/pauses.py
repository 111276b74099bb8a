"""Jobs that were put aside in the middle of a picture: one file each, from which they go on bit for bit."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

from engine.contract.errors import DiskFull
from engine.library.room import check_room

_JOB = re.compile(r"[0-9a-f]{32}")


class Pauses:
    """`root/<job>.safetensors`. The file of a job that is over is removed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def keep(self, job_id: str, state: bytes) -> None:
        """Write aside, sync, rename. Raises `DiskFull`."""
        aside = self._root / f".{secrets.token_hex(8)}.part"
        check_room(self._root, len(state), what="the paused picture could not be kept")
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as file:
                file.write(state)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self._path(job_id))
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise DiskFull(f"The paused picture could not be kept ({error.strerror}).", "Free some space, then pause again.") from error

    def of(self, job_id: str) -> Path | None:
        path = self._path(job_id)
        return path if path.is_file() else None

    def forget(self, job_id: str) -> None:
        with contextlib.suppress(OSError):
            self._path(job_id).unlink(missing_ok=True)

    def _path(self, job_id: str) -> Path:
        assert _JOB.fullmatch(job_id)
        return self._root / f"{job_id}.safetensors"
