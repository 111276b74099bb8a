"""A database that cannot be reached for a while, or has no room, loses no result: what must be written is tried until it is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError

from engine.contract.errors import DatabaseBusy, DiskFull

log = logging.getLogger("easel.jobs")
T = TypeVar("T")

UNREACHABLE = (DatabaseBusy, DiskFull, OperationalError, InterfaceError)
_LONGEST_S = 5.0


def insist(action: Callable[[], T], *, tries: int = 120) -> T:
    """The result of `action`, however long the database is away: about ten minutes, then its error."""
    pause = 0.1
    for left in reversed(range(tries)):
        try:
            return action()
        except UNREACHABLE as error:
            if not left:
                raise
            log.warning("the database cannot be reached (%s); trying again in %.1f s", type(error).__name__, pause)
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_S)
    raise AssertionError("the last try returns or raises")
