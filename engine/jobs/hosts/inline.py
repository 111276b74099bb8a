"""The host without a second process: for tests, and for hosted GPUs that are lent to one decorated call."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from engine.contract.memory import Memory
from engine.contract.work import Frozen, HostMessage, Work
from engine.jobs.hosts.lending import lent
from engine.jobs.hosts.steering import steered
from engine.jobs.wishes import Wishes

if TYPE_CHECKING:
    from engine.diffusion.painter import Painter


class InlineHost:
    """Draws in the calling thread. torch is imported at the first `start` or `run`, not with this module."""

    def __init__(self, *, device: str = "auto", dtype: str = "auto", memory: Memory | None = None) -> None:
        self._device = device
        self._dtype = dtype
        self._memory = memory or Memory()
        self._painter: Painter | None = None
        self._lock = threading.Lock()
        self._lent = lent(self._draw)
        self._state = "starting"

    def start(self, model_folder: Path | None) -> None:
        with self._lock:
            painter = self._ready_painter()
            if model_folder is not None:
                painter.load(model_folder)
        self._state = "ready"

    def run(self, work: Work, wishes: Wishes) -> Generator[HostMessage, None, None]:
        self._state = "drawing"
        try:
            with self._lock:
                painter = self._ready_painter()
                if self._lent is None:
                    messages = steered(painter.paint(work, lambda: wishes.skipped), wishes, painter.freeze, painter.keep)
                else:
                    # What is drawn lives in the lender's process: a job that is put aside there begins its picture anew.
                    messages = steered(self._lent(work), wishes, lambda: Frozen(0, 0, None))
                with closing(messages):
                    yield from messages
        finally:
            self._state = "ready"

    def state(self) -> str:
        return self._state

    def device(self) -> str:
        return "" if self._painter is None else self._painter.device_name

    def close(self) -> None:
        self._painter = None

    def _draw(self, work: Work) -> Generator[HostMessage, None, None]:
        yield from self._ready_painter().paint(work)

    def _ready_painter(self) -> Painter:
        if self._painter is None:
            from engine.diffusion.libraries import prepare_libraries

            prepare_libraries()
            from engine.diffusion.painter import Painter

            self._painter = Painter(device=self._device, dtype=self._dtype, memory=self._memory)
        return self._painter
