"""What is wanted of one run while it is under way. Each run has its own, so that nothing meant for another one reaches it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from engine.contract.work import Wish

Listener = Callable[["Wishes"], None]
_RANK: dict[Wish | None, int] = {None: 0, "leave": 1, "pause": 2, "keep": 3, "stop": 4}


class Wishes:
    """Set by any thread, read by whoever draws. A wish stays, and gives way only to a stronger one."""

    def __init__(self) -> None:
        self._wish: Wish | None = None
        self._skipped: frozenset[int] = frozenset()
        self._listener: Listener | None = None
        self._lock = threading.RLock()

    @property
    def now(self) -> Wish | None:
        return self._wish

    @property
    def skipped(self) -> frozenset[int]:
        return self._skipped

    def want(self, wish: Wish | None, skipped: frozenset[int] = frozenset()) -> None:
        with self._lock:
            wish = max(wish, self._wish, key=_RANK.__getitem__)
            skipped |= self._skipped
            if (wish, skipped) == (self._wish, self._skipped):
                return
            self._wish, self._skipped = wish, skipped
            if self._listener is not None:
                self._listener(self)

    def listen(self, listener: Listener | None) -> None:
        """Tell `listener` of every change from now on, and at once of what is wanted already."""
        with self._lock:
            self._listener = listener
            if listener is not None and (self._wish or self._skipped):
                listener(self)
