"""SHA-256 of large files, worked out once and remembered over restarts: a model of twenty gigabytes takes half a minute to read."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

# Smaller ones are read again at every start: that takes less than a look at the notes.
LARGE_BYTES = 64 * 1024 * 1024


class Digests:
    """Digests by path, size and time of change; those of large files are kept in `notes`, if there is one."""

    def __init__(self, notes: Path | None = None) -> None:
        self._notes = notes
        self._known: dict[str, tuple[int, int, str]] = {}
        self._lock = threading.Lock()
        if notes is not None:
            self._known = _read(notes)

    def known(self, path: Path) -> str | None:
        """The digest in hexadecimal, if it was worked out for the file as it is now."""
        stat = path.stat()
        found = self._known.get(str(path))
        return found[2] if found is not None and found[:2] == (stat.st_size, stat.st_mtime_ns) else None

    def of(self, path: Path) -> str:
        """The digest in hexadecimal; reads the file where it is not known yet."""
        if (known := self.known(path)) is not None:
            return known
        stat = path.stat()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with self._lock:
            self._known[str(path)] = (stat.st_size, stat.st_mtime_ns, digest)
            if self._notes is not None and stat.st_size >= LARGE_BYTES:
                self._write(self._notes)
        return digest

    def _write(self, notes: Path) -> None:
        large = {name: one for name, one in self._known.items() if one[0] >= LARGE_BYTES}
        aside = notes.with_suffix(".part")
        try:
            notes.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(large), encoding="utf-8")
            os.replace(aside, notes)
        except OSError:
            # Notes that cannot be written cost time at the next start, and nothing else.
            aside.unlink(missing_ok=True)


def _read(notes: Path) -> dict[str, tuple[int, int, str]]:
    """What is no note of ours is passed over: it would only be worked out again."""
    try:
        found = json.loads(notes.read_text(encoding="utf-8"))
        return {str(name): (int(size), int(when), str(digest)) for name, (size, when, digest) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
