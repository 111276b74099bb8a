"""Who is next: deficit round-robin between owners (Shreedhar & Varghese 1995), counted in seconds of the device.

With a quantum that goes to zero: all who wait earn at one rate, and whoever can first pay for their next job is next.
So of two who keep waiting none gets ahead of the other by more than the dearest job, and a cheap job of a newcomer
passes a long row of somebody else's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from engine.contract.results import Job

Cost = Callable[[Job], float]

# Owners who could pay within this time of each other are equals: among them a loaded model wins.
EQUAL_S = 1.0


@dataclass
class _Row:
    """One owner's waiting jobs in their order, the seconds that they have earned, and when they were last served."""

    jobs: list[Job] = field(default_factory=list)
    earned_s: float = 0.0
    turn: int = -1


class FairQueue:
    """Waiting jobs. Only who waits earns; an owner who has nothing waiting leaves without credit or debt."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._turn = 0

    def add(self, job: Job) -> None:
        row = self._rows.setdefault(job.owner, _Row())
        row.jobs.append(job)
        row.jobs.sort(key=_order)

    def remove(self, job_id: str) -> bool:
        for owner, row in self._rows.items():
            kept = [job for job in row.jobs if job.id != job_id]
            if len(kept) < len(row.jobs):
                row.jobs = kept
                if not kept:
                    del self._rows[owner]
                return True
        return False

    def place(self, places: dict[str, float]) -> None:
        """Jobs that were moved: their new places by id."""
        for row in self._rows.values():
            row.jobs = sorted((_placed(job, places.get(job.id, job.place)) for job in row.jobs), key=_order)

    def jobs(self) -> list[Job]:
        """Every waiting job, in no order."""
        return [job for row in self._rows.values() for job in row.jobs]

    def take(self, cost: Cost, warmth: Callable[[Job], int] = lambda job: 0) -> Job | None:
        """Remove and return the next job, or None. Its owner pays for it. `warmth` says how much of what it needs is loaded."""
        if not self._rows:
            return None
        missing = {owner: cost(row.jobs[0]) - row.earned_s for owner, row in self._rows.items()}
        first = min(missing.values())
        equals = [owner for owner, seconds in missing.items() if seconds <= first + EQUAL_S]

        def rank(owner: str) -> tuple[int, float, int]:
            row = self._rows[owner]
            return (-warmth(row.jobs[0]), missing[owner], row.turn)

        # Of those whose jobs are equally warm, the first who can pay: the sort is stable, so then who came first.
        owner = min(equals, key=rank)
        return self._serve(owner, missing[owner])

    def give_back(self, job: Job, cost_s: float) -> None:
        """A job that was taken and came to nothing waits again, and its owner has not paid for it."""
        self.add(job)
        row = self._rows[job.owner]
        # Before newcomers, who have -1.
        row.earned_s, row.turn = row.earned_s + cost_s, -2

    def order(self, cost: Cost) -> list[Job]:
        """Every waiting job in the order in which it would run if nobody else came and no model were warmer than another."""
        copy = self.copy()
        result: list[Job] = []
        while (job := copy.take(cost)) is not None:
            result.append(job)
        return result

    def copy(self) -> FairQueue:
        copy = FairQueue()
        copy._rows = {owner: _Row(list(row.jobs), row.earned_s, row.turn) for owner, row in self._rows.items()}
        copy._turn = self._turn
        return copy

    def __len__(self) -> int:
        return sum(len(row.jobs) for row in self._rows.values())

    def _serve(self, owner: str, missing_s: float) -> Job:
        for row in self._rows.values():
            row.earned_s += max(missing_s, 0.0)
        row = self._rows[owner]
        job = row.jobs.pop(0)
        # What was missing is earned now; who had more than the price keeps the rest.
        row.earned_s = max(-missing_s, 0.0)
        row.turn, self._turn = self._turn, self._turn + 1
        if not row.jobs:
            del self._rows[owner]
        return job


def _order(job: Job) -> tuple[float, str]:
    return (job.place or job.created_at.timestamp(), job.id)


def _placed(job: Job, place: float) -> Job:
    return job if job.place == place else job.model_copy(update={"place": place})
