"""Waking the pages of a visitor: whatever changes their jobs or pictures rings, and every open page of theirs looks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field


def wake(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Call something on an event loop, from any thread. A loop that has closed has nobody left to wake."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call)


@dataclass
class Ear:
    """One open page, on the event loop that serves it."""

    loop: asyncio.AbstractEventLoop
    is_over: bool = False
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)
    _has_rung: bool = False

    def stir(self) -> None:
        """End the waiting without a ring. From any thread."""
        wake(self.loop, self._stirred.set)

    def ring(self) -> None:
        """From any thread."""
        self._has_rung = True
        self.stir()

    async def wait(self, timeout_s: float) -> bool:
        """Whether it rang within that time, or before."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stirred.wait(), timeout_s)
        self._stirred.clear()
        has_rung, self._has_rung = self._has_rung, False
        return has_rung


class Bell:
    """A page that misses it looks a second later by itself: this is for speed, never for truth."""

    def __init__(self) -> None:
        self._ears: dict[str, list[Ear]] = {}
        self._lock = threading.Lock()

    def ring(self, owner: str) -> None:
        """From any thread."""
        with self._lock:
            ears = list(self._ears.get(owner, ()))
        for ear in ears:
            ear.ring()

    def close(self) -> None:
        """The studio ends: every open page is let go, and asks again by itself until there is a studio. From any thread, or a signal's handler."""
        for ears in list(self._ears.values()):
            for ear in list(ears):
                ear.is_over = True
                ear.stir()

    @contextlib.contextmanager
    def hear(self, owner: str) -> Generator[Ear]:
        ear = Ear(asyncio.get_running_loop())
        with self._lock:
            self._ears.setdefault(owner, []).append(ear)
        try:
            yield ear
        finally:
            with self._lock:
                self._ears[owner].remove(ear)
                if not self._ears[owner]:
                    del self._ears[owner]
