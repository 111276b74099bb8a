"""Everybody who watches the jobs of this server, by job."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from engine.contract.events import Ending, Event
from engine.contract.work import Sketch
from engine.jobs.watch import Broadcast, Watch


class Audience:
    """A job has watchers from when it is accepted, or first watched, until its ending is told."""

    def __init__(self) -> None:
        self._broadcasts: dict[str, Broadcast] = {}
        self._lock = threading.Lock()

    def open(self, job_id: str) -> None:
        with self._lock:
            self._broadcasts.setdefault(job_id, Broadcast())

    def join(self, job_id: str, *, sees_previews: bool) -> Watch | None:
        """Watch a job that is open; None for another, whose ending is in the journal."""
        with self._lock:
            broadcast = self._broadcasts.get(job_id)
            return None if broadcast is None else broadcast.join(sees_previews=sees_previews)

    def send(self, event: Event, sketch: Sketch | None = None) -> None:
        """`sketch` is the preview of a `Progress`."""
        broadcast = self._broadcasts.get(event.job_id)
        if broadcast is not None:
            broadcast.send(event, sketch)

    def send_once(self, event: Event) -> None:
        """Unless it is what was said last."""
        broadcast = self._broadcasts.get(event.job_id)
        if broadcast is not None and broadcast.newest != event:
            broadcast.send(event)

    def end(self, ending: Ending) -> None:
        """Tell those who watch, then forget: later watchers find the ending in the journal."""
        with self._lock:
            broadcast = self._broadcasts.pop(ending.job_id, None)
        if broadcast is not None:
            broadcast.send(ending)

    def beyond(self, job_ids: Iterable[str]) -> list[str]:
        """Open jobs that are not among these."""
        with self._lock:
            return list(self._broadcasts.keys() - set(job_ids))
