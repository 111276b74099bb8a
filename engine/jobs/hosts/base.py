"""What a host promises. Recipes go in, plain messages come out; nothing here knows torch."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Protocol

from engine.contract.work import HostMessage, Work
from engine.jobs.wishes import Wishes


class Host(Protocol):
    """One device. Runs one work at a time. `run` raises `EngineError` for everything a person can be told."""

    def start(self, model_folder: Path | None) -> None:
        """Get ready behind the page's back; with a folder, load that model."""
        ...

    def run(self, work: Work, wishes: Wishes) -> Generator[HostMessage, None, None]:
        """Messages in order, each wish heeded within one step: ends after the last `Pixels`, with `Stopped` (behind a `Partial` where that is wanted), or with `Frozen`.

        Raises `WorkerLost` when what draws has died. Closing it stops the work.
        """
        ...

    def state(self) -> str:
        """ "starting", "ready", "drawing" or "lost"."""
        ...

    def device(self) -> str:
        """What times are remembered under; "" while the device is not known yet."""
        ...

    def close(self) -> None: ...
