"""The libraries of a process that draws take seconds to import, and a fifth of that would be a search for garbage that is not there."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def importing() -> Generator[None, None, None]:
    """What is made in here stays for good and is never looked through: for modules, not for models."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        # Else compiled modules complain at the end of what nobody has cleared away.
        atexit.register(gc.unfreeze)
        gc.enable()
