"""What one visitor may use of a studio that many share. What is not set is not limited."""

from __future__ import annotations

import time
from dataclasses import dataclass

from engine.contract.errors import Busy
from engine.contract.recipe import Recipe
from engine.contract.settings import Settings
from engine.jobs.journal import Journal
from engine.library.history import History
from engine.library.inputs import Inputs
from engine.library.room import check_room

_HOUR_S = 3600
_MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Asked before a job is accepted or a picture is kept. Every refusal says which limit, and what to do."""

    settings: Settings
    journal: Journal
    history: History
    inputs: Inputs

    def check_jobs(self, owner: str, *, more: int) -> None:
        """Raises `Busy` where `more` jobs would be too many."""
        most = self.settings.queue_limit
        if self.journal.count_open(owner) + more > most:
            raise Busy(f"You have {most} jobs waiting.", "Let some finish, or stop a few.")

    def check_job(self, recipe: Recipe, owner: str, *, more: int = 1) -> None:
        """Raises `Busy` where a visitor's hour is used up or their shelf is full, `DiskFull` where the studio has no room left for `more` like it.

        Whoever still has a second left may begin: what a job will take is only guessed, so the hour ends behind it.
        """
        check_room(self.settings.data, more * recipe.width * recipe.height * 3, what="nothing can be drawn")
        hour = self.settings.device_seconds_per_hour
        if hour is not None and (used := self.history.seconds_since(owner, time.time() - _HOUR_S)) >= hour:
            raise Busy(f"You have drawn for {used:.0f} s in this hour, and {hour:.0f} s is what each visitor has.", "Come back a little later.")
        shelf = self.settings.picture_limit
        waiting = 0 if shelf is None else sum(job.recipe.count for job in self.journal.open_jobs(owner))
        if shelf is not None and self.history.count(owner) + waiting + more * recipe.count > shelf:
            raise Busy(f"{shelf} pictures are kept for each visitor, and this would be more.", "Download some, delete them, and empty the bin.")

    def check_input(self, owner: str) -> None:
        """Raises `Busy` where the room for brought pictures is used up."""
        most = self.settings.upload_mb
        if most is not None and self.inputs.bytes_of(owner) >= most * _MEGABYTE:
            raise Busy(f"You have brought {most:g} MB of pictures, which is what each visitor has.", "Use one that is here already.", "source")
