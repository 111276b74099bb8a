"""From disk: one model at a time in a process, and what it will take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Read = TypeVar("Read")
_LOCK = threading.RLock()


def one_at_a_time(read: Callable[Given, Read]) -> Callable[Given, Read]:
    """For whatever reads a model from disk, from whichever thread.

    While they read, transformers and accelerate change for the whole process how layers begin: two threads that read at once
    meet each other's half-made layers, "a leaf Variable that requires grad", or weights that lie nowhere.
    """

    @wraps(read)
    def reads(*args: Given.args, **kwargs: Given.kwargs) -> Read:
        with _LOCK:
            return read(*args, **kwargs)

    return reads


def file_bytes(path: Path) -> int:
    """What a file, or the safetensors of a folder, take on disk, which is about what they take in memory; 0 for what is gone."""
    files = path.rglob("*.safetensors") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
