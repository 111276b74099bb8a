"""The host without a second process: for tests, and for hosted GPUs that are lent to one decorated call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

from engine.contract.work import HostMessage, Stopped, Work

if TYPE_CHECKING:
    from engine.diffusion.painter import Painter


class InlineHost:
    """Draws in the calling thread. torch is imported at the first `start` or `run`, not with this module."""

    def __init__(self, *, device: str = "auto", dtype: str = "auto") -> None:
        self._device = device
        self._dtype = dtype
        self._painter: Painter | None = None
        self._lock = threading.Lock()
        self._stop: str | None = None
        self._state = "starting"

    def start(self, model_folder: Path | None) -> None:
        with self._lock:
            painter = self._ready_painter()
            if model_folder is not None:
                painter.load(model_folder)
        self._state = "ready"

    def run(self, work: Work) -> Generator[HostMessage, None, None]:
        self._state = "drawing"
        try:
            with self._lock:
                yield from stoppable(self._ready_painter().paint(work), lambda: self._stop == work.job_id)
        finally:
            self._stop = None
            self._state = "ready"

    def stop(self, job_id: str) -> None:
        self._stop = job_id

    def state(self) -> str:
        return self._state

    def close(self) -> None:
        self._painter = None

    def _ready_painter(self) -> Painter:
        if self._painter is None:
            from engine.diffusion.painter import Painter

            self._painter = Painter(device=self._device, dtype=self._dtype)
        return self._painter


def stoppable(messages: Generator[HostMessage, None, None], is_stopped: Callable[[], bool]) -> Generator[HostMessage, None, None]:
    """Pass messages on until `is_stopped()`; then close the source, so no further step runs, and say `Stopped`."""
    step = 0
    for message in messages:
        step = getattr(message, "step", step)
        yield message
        if is_stopped():
            messages.close()
            yield Stopped(step)
            return
