"""What a host promises. Recipes go in, plain messages come out; nothing here knows torch."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine.contract.recipe import Recipe


@dataclass(frozen=True)
class Work:
    """One recipe to draw with the model in `model_folder`, skipping pictures that an earlier attempt finished."""

    job_id: str
    recipe: Recipe
    model_folder: Path
    skip: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Loads:
    """A model is being read."""

    what: str


@dataclass(frozen=True)
class Stepped:
    """Step `step` of `steps` of picture `picture` is done."""

    picture: int
    step: int
    steps: int
    preview: bytes | None


@dataclass(frozen=True)
class Pixels:
    """Picture `picture` is drawn: `rgb` holds height × width × 3 bytes."""

    picture: int
    width: int
    height: int
    rgb: bytes
    seconds: float


@dataclass(frozen=True)
class Stopped:
    """The work was stopped on request after `step` steps of the current picture."""

    step: int


HostMessage = Loads | Stepped | Pixels | Stopped


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
