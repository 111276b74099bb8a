"""Watching a job: a mailbox per watcher in which a newer `Progress` replaces an unread one."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType

from engine.contract.events import Cancelled, Event, Failed, Finished, Progress, Queued
from engine.contract.work import Sketch
from engine.jobs.hosts.previews import to_jpeg

_ENDINGS = (Finished, Cancelled, Failed)


class Watch:
    """Events of one job for one watcher. Closing it ends the watching, never the job."""

    def __init__(self, broadcast: Broadcast | None = None, *, sees_previews: bool = True) -> None:
        self.sees_previews = sees_previews
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._broadcast = broadcast
        self._is_over = False
        self._told: Callable[[Event], None] = lambda event: None

    def listen(self, told: Callable[[Event], None]) -> None:
        """Call `told` at each event from now on, in the thread that sends it: for those who cannot wait in a thread of their own. It must be quick."""
        self._told = told

    def put(self, event: Event) -> None:
        with self._changed:
            if self._events and _replaces(event, self._events[-1]):
                self._events.pop()
            self._events.append(event)
            self._changed.notify_all()
        self._told(event)

    def take(self) -> Event | None:
        """The next unread event, at once; None when there is none."""
        with self._changed:
            return self._events.popleft() if self._events else None

    def wait(self, timeout_s: float | None = None) -> Event | None:
        """The next unread event; None when none came in time."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not self._events:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
            return self._events.popleft()

    def __iter__(self) -> Iterator[Event]:
        """Every event up to and with the ending."""
        while not self._is_over:
            event = self.wait()
            assert event is not None
            self._is_over = isinstance(event, _ENDINGS)
            yield event

    def close(self) -> None:
        if self._broadcast is not None:
            self._broadcast.leave(self)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _replaces(new: Event, old: Event) -> bool:
    return (isinstance(new, Progress) and isinstance(old, Progress)) or (isinstance(new, Queued) and isinstance(old, Queued))


class Broadcast:
    """All watchers of one job. A late one is given the newest event first, so it never faces a blank.

    A preview becomes a picture file when there is somebody to see it: a program that only counts steps does not.
    """

    def __init__(self) -> None:
        self._watches: list[Watch] = []
        self._newest: Event | None = None
        # The preview of the newest event, while nobody has seen it.
        self._sketch: Sketch | None = None
        self._lock = threading.Lock()

    @property
    def newest(self) -> Event | None:
        return self._newest

    def join(self, *, sees_previews: bool = True) -> Watch:
        watch = Watch(self, sees_previews=sees_previews)
        with self._lock:
            if self._newest is not None:
                watch.put(self._shown(self._newest) if sees_previews else self._newest)
            self._watches.append(watch)
        return watch

    def leave(self, watch: Watch) -> None:
        with self._lock:
            if watch in self._watches:
                self._watches.remove(watch)

    def send(self, event: Event, sketch: Sketch | None = None) -> None:
        """`sketch` is the preview of a `Progress`."""
        with self._lock:
            self._newest, self._sketch = event, sketch
            for watch in self._watches:
                watch.put(self._shown(self._newest) if watch.sees_previews else event)

    def _shown(self, newest: Event) -> Event:
        """The newest event with its preview as a file, made once for all who look."""
        if self._sketch is not None and isinstance(newest, Progress):
            newest = self._newest = replace(newest, preview=to_jpeg(self._sketch))
            self._sketch = None
        return newest
