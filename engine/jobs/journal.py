"""The journal of jobs. A job exists once its recipe is in the database, and ends exactly once."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime

from sqlalchemy import Engine, RowMapping, func, insert, select, update

from engine.contract.errors import EngineError, NotFound
from engine.contract.recipe import Recipe
from engine.contract.results import Job, JobState
from engine.store import jobs_table as jobs

ATTEMPTS_MAX = 2


class Journal:
    """States and who may change them: queued → running → done, cancelled or failed; running → queued after a crash."""

    def __init__(self, store: Engine) -> None:
        self._store = store

    def accept(self, recipe: Recipe, owner: str) -> Job:
        """Write the job down and return it. From here on it survives any crash."""
        job_id = secrets.token_hex(16)
        row = {
            "id": job_id,
            "owner": owner,
            "recipe": recipe.canonical_json(),
            "state": "queued",
            "attempt": 0,
            "steps_done": 0,
            "created_at": time.time(),
        }
        with self._store.begin() as db:
            db.execute(insert(jobs).values(row))
        return self.get(job_id, owner)

    def claim(self, job_id: str) -> bool:
        """Move a queued job to running; False when it is no longer queued (stopped meanwhile)."""
        query = update(jobs).where(jobs.c.id == job_id, jobs.c.state == "queued")
        with self._store.begin() as db:
            return db.execute(query.values(state="running", attempt=jobs.c.attempt + 1)).rowcount == 1

    def release(self, job_id: str) -> None:
        """Give a running job back unharmed: the studio closes, and that is no attempt that failed."""
        query = update(jobs).where(jobs.c.id == job_id, jobs.c.state == "running")
        with self._store.begin() as db:
            db.execute(query.values(state="queued", attempt=jobs.c.attempt - 1))

    def end(self, job_id: str, state: JobState, *, steps_done: int = 0, error: EngineError | None = None) -> bool:
        """Write the one ending; False when the job had ended before."""
        query = update(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(("queued", "running")))
        values = {"state": state, "ended_at": time.time(), "steps_done": steps_done, "error": error.to_plain() if error else None}
        with self._store.begin() as db:
            return db.execute(query.values(values)).rowcount == 1

    def recover(self) -> list[Job]:
        """After a start: jobs that a dead server was running wait again. Returns all waiting jobs, oldest first."""
        with self._store.begin() as db:
            db.execute(update(jobs).where(jobs.c.state == "running").values(state="queued"))
            rows = db.execute(select(jobs).where(jobs.c.state == "queued").order_by(jobs.c.created_at)).mappings().all()
        return [_job(row) for row in rows]

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

    def steps_done(self, job_id: str) -> int:
        with self._store.connect() as db:
            return db.execute(select(jobs.c.steps_done).where(jobs.c.id == job_id)).scalar_one()

    def open_jobs(self, owner: str) -> list[Job]:
        """Waiting and running jobs of an owner, oldest first."""
        query = select(jobs).where(jobs.c.owner == owner, jobs.c.state.in_(("queued", "running"))).order_by(jobs.c.created_at)
        with self._store.connect() as db:
            return [_job(row) for row in db.execute(query).mappings()]

    def count_open(self, owner: str) -> int:
        query = select(func.count()).select_from(jobs).where(jobs.c.owner == owner, jobs.c.state.in_(("queued", "running")))
        with self._store.connect() as db:
            return int(db.execute(query).scalar_one())


def _job(row: RowMapping) -> Job:
    return Job(
        id=row["id"],
        owner=row["owner"],
        recipe=Recipe.from_json(row["recipe"]),
        state=row["state"],
        attempt=row["attempt"],
        created_at=datetime.fromtimestamp(row["created_at"], UTC),
        error=row["error"],
    )
