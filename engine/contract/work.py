"""What goes to whatever draws, and what comes back: plain facts, so that they cross processes and, later, machines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
