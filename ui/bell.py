"""Waking the pages of a visitor: whatever changes their jobs or pictures rings, and every open page of theirs looks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Generator
from dataclasses import dataclass, field


@dataclass
class Ear:
    """One open page, on the event loop that serves it."""

    loop: asyncio.AbstractEventLoop
    rung: asyncio.Event = field(default_factory=asyncio.Event)

    is_over: bool = False

    async def wait(self, timeout_s: float) -> bool:
        """Whether it rang within that time."""
        try:
            await asyncio.wait_for(self.rung.wait(), timeout_s)
        except TimeoutError:
            return False
        self.rung.clear()
        return True


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
            # A loop that has closed has no page left to wake.
            with contextlib.suppress(RuntimeError):
                ear.loop.call_soon_threadsafe(ear.rung.set)

    def close(self) -> None:
        """The studio ends: every open page is let go, and asks again by itself until there is a studio. From any thread, or a signal's handler."""
        for ears in list(self._ears.values()):
            for ear in list(ears):
                ear.is_over = True
                with contextlib.suppress(RuntimeError):
                    ear.loop.call_soon_threadsafe(ear.rung.set)

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
