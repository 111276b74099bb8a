"""Whether files are as they were when they were read: their names, sizes and times of the last change. Nothing is opened."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

# Name, bytes, nanoseconds of the last change.
Stamp = tuple[str, int, int]


def stamps(files: Iterable[Path]) -> tuple[Stamp, ...]:
    """Those of the files that are here, in their order."""
    found: list[Stamp] = []
    for one in files:
        try:
            stat = one.stat()
        except OSError:
            continue
        found.append((str(one), stat.st_size, stat.st_mtime_ns))
    return tuple(found)
