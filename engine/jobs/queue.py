"""Who is next: the owner who has had the least work done, then the oldest of their jobs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from engine.contract.results import Job


@dataclass
class FairQueue:
    """Waiting jobs. Work is counted in any unit that is equal for all (see `estimates.work`); idle owners earn no credit."""

    _waiting: dict[str, list[Job]] = field(default_factory=lambda: defaultdict(list))
    _served: dict[str, float] = field(default_factory=dict)

    def add(self, job: Job) -> None:
        if not self._waiting[job.owner]:
            # A newcomer starts level with the least served of those who wait, not with an old surplus or an old debt.
            level = min((self._served[o] for o, jobs in self._waiting.items() if jobs and o in self._served), default=0.0)
            self._served[job.owner] = max(self._served.get(job.owner, 0.0), level)
        self._waiting[job.owner].append(job)

    def remove(self, job_id: str) -> bool:
        for jobs in self._waiting.values():
            for job in jobs:
                if job.id == job_id:
                    jobs.remove(job)
                    return True
        return False

    def jobs(self) -> list[Job]:
        """Every waiting job, in no order."""
        return [job for jobs in self._waiting.values() for job in jobs]

    def take(self) -> Job | None:
        """Remove and return the next job, or None; the caller then charges its owner."""
        owner = self._next_owner(self._served, {o: len(jobs) for o, jobs in self._waiting.items()})
        return None if owner is None else self._waiting[owner].pop(0)

    def charge(self, owner: str, work: float) -> None:
        self._served[owner] = self._served.get(owner, 0.0) + work

    def order(self, work_of: dict[str, float]) -> list[Job]:
        """Every waiting job in the order in which it would run if nobody else came."""
        served = dict(self._served)
        left = {owner: list(jobs) for owner, jobs in self._waiting.items()}
        result: list[Job] = []
        while (owner := self._next_owner(served, {o: len(jobs) for o, jobs in left.items()})) is not None:
            job = left[owner].pop(0)
            served[owner] += work_of.get(job.id, 1.0)
            result.append(job)
        return result

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._waiting.values())

    def _next_owner(self, served: dict[str, float], waiting: dict[str, int]) -> str | None:
        candidates = [owner for owner, count in waiting.items() if count]
        return min(candidates, key=lambda owner: (served.get(owner, 0.0), self._oldest(owner)), default=None)

    def _oldest(self, owner: str) -> float:
        jobs = self._waiting.get(owner)
        return jobs[0].created_at.timestamp() if jobs else 0.0
