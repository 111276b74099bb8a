"""The journal of jobs. A job exists once its recipe is in the database, and ends exactly once.

Several servers may share it. Each change is one statement that says what it expects to find; whoever comes second
finds no row. A run of a job is named by its id and attempt number, so that nothing meant for one run meets another.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, RowMapping, and_, case, func, insert, select, update

from engine.contract.errors import EngineError, InvalidRequest, NotFound, WorkerLost
from engine.contract.recipe import Recipe
from engine.contract.results import Job, JobState
from engine.contract.work import Wish
from engine.store import Store
from engine.store import jobs_table as jobs

# A job that has killed this many workers is set aside.
CRASHES_MAX = 2
_OPEN = ("queued", "running", "paused")
# What stands against a newer wish.
_ABOVE = {"pause": ("keep", "stop"), "keep": ("stop",), "stop": ()}


@dataclass(frozen=True)
class Held:
    """A run as others see it: while its holder lives, `beat` goes up."""

    job_id: str
    attempt: int
    beat: int
    holder: str | None


@dataclass(frozen=True)
class Pulse:
    """What a holder learns when its heart beats: whether the run is still its own, and what the owner wants of it."""

    is_ours: bool
    wish: Wish | None = None
    skipped: frozenset[int] = frozenset()


class Journal:
    """States and who may change them: queued → running → done, cancelled or failed; running → queued when a worker dies;
    queued or running → paused → queued; failed or cancelled → queued when its owner tries again."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # Accepting and ordering

    def accept(self, recipe: Recipe, owner: str) -> Job:
        """Write the job down and return it. From here on it survives any crash."""
        now = time.time()
        row = {"id": secrets.token_hex(16), "owner": owner, "recipe": recipe.canonical_json(), "state": "queued", "created_at": now}
        with self._store.begin() as db:
            # A clock that was set back does not let a job overtake those that were there.
            last = db.execute(select(func.max(jobs.c.place)).where(jobs.c.owner == owner, jobs.c.state.in_(_OPEN))).scalar()
            place = now if last is None else max(now, last + 1e-3)
            found = db.execute(insert(jobs).values(row | {"attempt": 0, "steps_done": 0, "place": place}).returning(*jobs.c)).mappings().one()
        return _job(found)

    def move(self, job_id: str, owner: str, *, before: str | None) -> None:
        """Put a waiting job in front of another of the same owner; without one, last. Raises `NotFound` or `InvalidRequest`."""
        query = select(jobs.c.id, jobs.c.place).where(jobs.c.owner == owner, jobs.c.state == "queued").order_by(jobs.c.place, jobs.c.id)
        with self._store.begin() as db:
            rows = db.execute(query.with_for_update()).all()
            order = [row.id for row in rows if row.id != job_id]
            if len(order) == len(rows):
                raise NotFound("This job is not waiting.", "Only what waits can be moved.")
            if before is not None and before not in order:
                raise InvalidRequest("The job to go in front of is not waiting.", "Choose one of your waiting jobs.", "before")
            order.insert(len(order) if before is None else order.index(before), job_id)
            # The same places, dealt out anew: however often jobs are moved, no place has to be found between two.
            for row, name in zip(rows, order, strict=True):
                if row.id != name:
                    db.execute(update(jobs).where(jobs.c.id == name).values(place=row.place))

    # Running

    def claim(self, job_id: str, holder: str) -> Job | None:
        """Take a waiting job to run it; None when it waits no longer. One statement: of many who try, one succeeds."""
        values = {"state": "running", "attempt": jobs.c.attempt + 1, "holder": holder, "beat": 0, "wish": None, "error": None}
        row = self._change(and_(jobs.c.id == job_id, jobs.c.state == "queued"), values)
        return None if row is None else _job(row)

    def pulse(self, job: Job) -> Pulse:
        """Say that the run lives, and hear what is wanted of it."""
        row = self._change(_run(job), {"beat": jobs.c.beat + 1})
        return Pulse(False) if row is None else Pulse(True, row["wish"], frozenset(row["skipped"] or ()))

    def end(self, job: Job, state: JobState, *, steps_done: int = 0, error: EngineError | None = None) -> bool:
        """Write the one ending of a run; False when the run is not the job's any more."""
        return self._change(_run(job), _ending(state, steps_done, error)) is not None

    def pause(self, job: Job, *, steps_done: int) -> bool:
        """The run stops here and its job waits for its owner; False when the run is not the job's any more."""
        return self._change(_run(job), {"state": "paused", "steps_done": steps_done, "holder": None, "wish": None}) is not None

    def release(self, job: Job) -> Job | None:
        """Give a run back unharmed: the studio closes. None when the run is not the job's any more."""
        return self._give_back(job, crashes=0)

    def crash(self, run: Job | Held) -> Job | None:
        """Whoever ran it has died. The job waits again, or ends where it has killed too many or its owner wanted it stopped.

        None when the run is not the job's any more.
        """
        return self._give_back(run, crashes=1)

    def held(self) -> list[Held]:
        """Every run that is under way, wherever it is."""
        with self._store.connect() as db:
            rows = db.execute(select(jobs.c.id, jobs.c.attempt, jobs.c.beat, jobs.c.holder).where(jobs.c.state == "running")).all()
        return [Held(*row) for row in rows]

    # What owners want

    def cancel_waiting(self, job_id: str) -> Job | None:
        """End a job that waits or is paused; None when it is neither."""
        waits = and_(jobs.c.id == job_id, jobs.c.state.in_(("queued", "paused")))
        row = self._change(waits, _ending("cancelled", jobs.c.steps_done, None))
        return None if row is None else _job(row)

    def pause_waiting(self, job_id: str) -> Job | None:
        row = self._change(and_(jobs.c.id == job_id, jobs.c.state == "queued"), {"state": "paused"})
        return None if row is None else _job(row)

    def resume(self, job_id: str) -> Job | None:
        """A paused job waits again, in its old place; None when it is not paused."""
        row = self._change(and_(jobs.c.id == job_id, jobs.c.state == "paused"), {"state": "queued"})
        return None if row is None else _job(row)

    def retry(self, job_id: str) -> Job | None:
        """A job that failed or was stopped waits again, with a clean slate; None when it is neither."""
        ended = and_(jobs.c.id == job_id, jobs.c.state.in_(("failed", "cancelled")))
        row = self._change(ended, {"state": "queued", "crashes": 0, "error": None, "ended_at": None, "skipped": None, "put_away_at": None})
        return None if row is None else _job(row)

    def put_away(self, job_id: str, owner: str) -> bool:
        """Its owner has seen this failure; False when it is none, or not theirs."""
        seen = and_(jobs.c.id == job_id, jobs.c.owner == owner, jobs.c.state == "failed")
        return self._change(seen, {"put_away_at": time.time()}) is not None

    def wish(self, job_id: str, wish: Literal["stop", "keep", "pause"]) -> int | None:
        """Say what is wanted of the run that is under way; its attempt number, or None when nothing runs."""
        # Who stops a job that is being paused means it; who pauses one that is being stopped is too late.
        stands = case((jobs.c.wish.in_(_ABOVE[wish]), jobs.c.wish), else_=wish)
        row = self._change(and_(jobs.c.id == job_id, jobs.c.state == "running"), {"wish": stands})
        return None if row is None else row["attempt"]

    def skip(self, job_id: str, picture: int) -> Job | None:
        """Leave out one picture of a job that is not over; None when it is."""
        with self._store.begin() as db:
            query = select(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(_OPEN)).with_for_update()
            row = db.execute(query).mappings().one_or_none()
            if row is None:
                return None
            skipped = sorted({*(row["skipped"] or ()), picture})
            changed = db.execute(update(jobs).where(jobs.c.id == job_id).values(skipped=skipped).returning(*jobs.c))
            return _job(changed.mappings().one())

    # Reading

    def waiting(self) -> dict[str, float]:
        """Every waiting job and its place."""
        with self._store.connect() as db:
            return {row.id: row.place for row in db.execute(select(jobs.c.id, jobs.c.place).where(jobs.c.state == "queued"))}

    def get(self, job_id: str, owner: str | None = None) -> Job:
        """One job; with an owner, only if it is theirs. Raises `NotFound`."""
        query = select(jobs).where(jobs.c.id == job_id)
        if owner is not None:
            query = query.where(jobs.c.owner == owner)
        with self._store.connect() as db:
            row = db.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound("This job is not here.", "It belongs to somebody else, or it is long over.")
        return _job(row)

    def open_jobs(self, owner: str) -> list[Job]:
        """An owner's jobs that are not over, in their order."""
        query = select(jobs).where(jobs.c.owner == owner, jobs.c.state.in_(_OPEN)).order_by(jobs.c.place, jobs.c.id)
        with self._store.connect() as db:
            return [_job(row) for row in db.execute(query).mappings()]

    def failures(self, owner: str, limit: int) -> list[Job]:
        """An owner's failed jobs that were not put away, newest first."""
        theirs = (jobs.c.owner == owner, jobs.c.state == "failed", jobs.c.put_away_at.is_(None))
        with self._store.connect() as db:
            return [_job(row) for row in db.execute(select(jobs).where(*theirs).order_by(jobs.c.ended_at.desc()).limit(limit)).mappings()]

    def count_open(self, owner: str) -> int:
        query = select(func.count()).select_from(jobs).where(jobs.c.owner == owner, jobs.c.state.in_(_OPEN))
        with self._store.connect() as db:
            return int(db.execute(query).scalar_one())

    def _give_back(self, run: Job | Held, *, crashes: Literal[0, 1]) -> Job | None:
        with self._store.begin() as db:
            row = db.execute(select(jobs).where(_run(run)).with_for_update()).mappings().one_or_none()
            if row is None:
                return None
            changed = update(jobs).where(jobs.c.id == row["id"]).values(_given_back(row, crashes)).returning(*jobs.c)
            return _job(db.execute(changed).mappings().one())

    def _change(self, expected: ColumnElement[bool], values: dict[str, Any]) -> RowMapping | None:
        """One atomic update of one job; None when it is not as expected."""
        with self._store.begin() as db:
            return db.execute(update(jobs).where(expected).values(values).returning(*jobs.c)).mappings().one_or_none()


def _set_aside() -> WorkerLost:
    message = f"This job has killed {CRASHES_MAX} of the processes that draw, most likely for want of memory, and was set aside."
    return WorkerLost(message, "Try it smaller, or with another model.", "width")


def _run(job: Job | Held) -> ColumnElement[bool]:
    """This very run: a job that was taken over meanwhile has another attempt number."""
    if isinstance(job, Job):
        return and_(jobs.c.id == job.id, jobs.c.state == "running", jobs.c.attempt == job.attempt)
    # A heart that beats again was not dead.
    return and_(jobs.c.id == job.job_id, jobs.c.state == "running", jobs.c.attempt == job.attempt, jobs.c.beat == job.beat)


def _ending(state: JobState, steps_done: int | ColumnElement[int], error: EngineError | None) -> dict[str, Any]:
    plain = error.to_plain() if error else None
    return {"state": state, "ended_at": time.time(), "steps_done": steps_done, "error": plain, "holder": None, "wish": None}


def _given_back(row: RowMapping, crashes: int) -> dict[str, Any]:
    """Values of a run that did not come to its end: what its owner wanted meanwhile is done, the rest waits again."""
    total = row["crashes"] + crashes
    if row["wish"] in ("stop", "keep"):
        return _ending("cancelled", row["steps_done"], None) | {"crashes": total}
    if crashes and total >= CRASHES_MAX:
        return _ending("failed", row["steps_done"], _set_aside()) | {"crashes": total}
    return {"state": "paused" if row["wish"] == "pause" else "queued", "crashes": total, "holder": None, "wish": None}


def _job(row: RowMapping) -> Job:
    return Job(
        id=row["id"],
        owner=row["owner"],
        recipe=Recipe.from_json(row["recipe"]),
        state=row["state"],
        attempt=row["attempt"],
        created_at=datetime.fromtimestamp(row["created_at"], UTC),
        error=row["error"],
        place=row["place"],
        crashes=row["crashes"],
        skipped=tuple(row["skipped"] or ()),
        steps_done=row["steps_done"],
    )
