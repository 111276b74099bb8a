"""What a host promises. Recipes go in, plain messages come out; nothing here knows torch."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Protocol

from engine.contract.work import HostMessage, Work


class Host(Protocol):
    """Runs one work at a time. `run` raises `EngineError` for everything a person can be told."""

    def start(self, model_folder: Path | None) -> None:
        """Get ready behind the page's back; with a folder, load that model."""
        ...

    def run(self, work: Work) -> Generator[HostMessage, None, None]:
        """Messages in order; ends after the last `Pixels`, or after `Stopped`. Closing it stops the work."""
        ...

    def stop(self, job_id: str) -> None:
        """Ask the running work to end within one step; nothing happens when another job is running."""
        ...

    def state(self) -> str:
        """ "starting", "ready", "drawing" or "lost"."""
        ...

    def close(self) -> None: ...
