"""How much a studio has done, counted from its tables: so the numbers survive a restart and cost nothing while it draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from sqlalchemy import func, select

from engine.contract.results import JobState
from engine.store import Store
from engine.store import jobs_table as jobs
from engine.store import pictures_table as pictures


@dataclass(frozen=True)
class Counts:
    """Jobs by state, finished pictures, and the seconds that drawing them took."""

    jobs: dict[str, int]
    pictures: int
    seconds: float


def count(store: Store) -> Counts:
    states: dict[str, int] = dict.fromkeys(get_args(JobState), 0)
    with store.connect() as db:
        states |= {str(state): int(number) for state, number in db.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))}
        drawn, seconds = db.execute(select(func.count(), func.coalesce(func.sum(pictures.c.seconds), 0.0)).select_from(pictures)).one()
    return Counts(states, int(drawn), float(seconds))
