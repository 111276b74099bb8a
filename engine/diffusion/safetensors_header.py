"""What every loader asks before a library opens a file."""

from __future__ import annotations

from pathlib import Path

from engine.weights.headers import judge_header


def check_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by tensor name. Raises `DamagedFile` unless header, offsets and file size agree to the byte."""
    return judge_header(path).shapes
