"""What comes back: pictures and jobs, as plain facts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from engine.contract.recipe import Recipe


class InputImage(BaseModel):
    """A picture that somebody brought: known by the hash of its pixels. `note` says what was changed on the way in."""

    model_config = ConfigDict(frozen=True)

    hash: str
    width: int
    height: int
    note: str = ""


class Brought(BaseModel):
    """One file of a folder that somebody brought: the picture, or why it is none."""

    model_config = ConfigDict(frozen=True)

    name: str
    image: InputImage | None = None
    error: dict[str, str | None] | None = None


class UpscalerCard(BaseModel):
    """An enlarging model on disk. `scale` is None while nobody has said it."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    content_hash: str
    scale: int | None = None


JobState = Literal["queued", "running", "paused", "done", "cancelled", "failed"]


class Picture(BaseModel):
    """One finished picture. `recipe` makes exactly this one; `seconds` is drawing time without waiting."""

    model_config = ConfigDict(frozen=True)

    id: str
    job_id: str
    index: int
    path: Path
    width: int
    height: int
    seed: int
    seconds: float
    recipe: Recipe
    created_at: datetime
    is_binned: bool = False


@dataclass(frozen=True)
class TrayCounts:
    """Pictures of a visitor."""

    shelf: int
    bin: int


@dataclass(frozen=True)
class DeviceCode:
    """What another device has to be told to become the same visitor: once, within `seconds`."""

    text: str
    seconds: int


class Job(BaseModel):
    """One accepted recipe and how far it has come. `place` orders the jobs of one owner; `skipped` are pictures that they do not want."""

    model_config = ConfigDict(frozen=True)

    id: str
    owner: str
    recipe: Recipe
    state: JobState
    attempt: int
    created_at: datetime
    error: dict[str, str | None] | None = None
    place: float = 0.0
    crashes: int = 0
    skipped: tuple[int, ...] = ()
    steps_done: int = 0

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "cancelled", "failed")
