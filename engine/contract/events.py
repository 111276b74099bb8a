"""What a job tells its watchers, in order: Queued*, Loading*, Progress*, Drawn* and Skipped*, then exactly one ending.

A job that is paused says so, and begins again with Queued when it is resumed; one whose worker died, too. A newer `Progress` replaces an unread one; nothing else is ever dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.contract.errors import EngineError
from engine.contract.results import Picture


@dataclass(frozen=True)
class Queued:
    """Waiting. `position` 1 is next; `eta_s` is None while nothing is known about the speed of this machine."""

    job_id: str
    position: int
    eta_s: float | None = None


@dataclass(frozen=True)
class Loading:
    """The model is on its way into the device's memory."""

    job_id: str
    what: str


@dataclass(frozen=True)
class Progress:
    """Step `step` of `steps` of tile `tile` of `tiles` of picture `picture` (both from 0) of `count`; `preview` is a small JPEG of the predicted clean picture."""

    job_id: str
    picture: int
    count: int
    step: int
    steps: int
    preview: bytes | None
    left_s: float | None = None
    tile: int = 0
    tiles: int = 1
    # A sentence about how the job goes, where something is not as usual.
    note: str = ""


@dataclass(frozen=True)
class Drawn:
    """One picture of the job is finished, written and listed."""

    job_id: str
    picture: Picture


@dataclass(frozen=True)
class Skipped:
    """Picture `picture` (from 0) was left out because its owner wanted that."""

    job_id: str
    picture: int


@dataclass(frozen=True)
class Paused:
    """Put aside after `step` steps of picture `picture`; the device is free for others until its owner resumes it."""

    job_id: str
    picture: int
    step: int


@dataclass(frozen=True)
class Finished:
    """Ending: every picture that was not skipped is written."""

    job_id: str
    pictures: tuple[Picture, ...]
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Cancelled:
    """Ending: the owner stopped the job after `step` steps of the current picture; pictures finished before stay."""

    job_id: str
    step: int
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Failed:
    """Ending: what happened, in words, in `error`."""

    job_id: str
    error: EngineError


Ending = Finished | Cancelled | Failed
Event = Queued | Loading | Progress | Drawn | Skipped | Paused | Ending
