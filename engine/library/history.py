"""Which pictures there are and whose they are."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import RowMapping, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from engine.contract.errors import NotFound
from engine.contract.recipe import Recipe
from engine.contract.results import Picture
from engine.store import Store
from engine.store import jobs_table as jobs
from engine.store import pictures_table as pictures


class History:
    """Pictures by owner. Paths are kept relative to the data folder, so the folder may move."""

    def __init__(self, store: Store, data: Path) -> None:
        self._store = store
        self._data = data

    def add(self, picture: Picture, owner: str, *, attempt: int) -> bool:
        """List what a run of a job has drawn; False when the job is not that run's any more, or has this picture already."""
        row: dict[str, Any] = {
            "id": picture.id,
            "job_id": picture.job_id,
            "owner": owner,
            "number": picture.index,
            "path": picture.path.resolve().relative_to(self._data.resolve()).as_posix(),
            "width": picture.width,
            "height": picture.height,
            "seed": picture.seed,
            "seconds": picture.seconds,
            "recipe": picture.recipe.canonical_json(),
            "created_at": picture.created_at.timestamp(),
        }
        ours = update(jobs).where(jobs.c.id == picture.job_id, jobs.c.state == "running", jobs.c.attempt == attempt)
        try:
            with self._store.begin() as db:
                # Written, not only read: whoever takes the job over has to wait until the picture is listed.
                if db.execute(ours.values(beat=jobs.c.beat + 1)).rowcount != 1:
                    return False
                db.execute(insert(pictures).values(row))
        except IntegrityError:
            return False
        return True

    def of_owner(self, owner: str, limit: int) -> list[Picture]:
        """Newest first."""
        query = select(pictures).where(pictures.c.owner == owner).order_by(pictures.c.created_at.desc()).limit(limit)
        with self._store.connect() as db:
            return [self._picture(row) for row in db.execute(query).mappings()]

    def of_job(self, job_id: str) -> list[Picture]:
        """In the order of the batch."""
        query = select(pictures).where(pictures.c.job_id == job_id).order_by(pictures.c.number)
        with self._store.connect() as db:
            return [self._picture(row) for row in db.execute(query).mappings()]

    def get(self, picture_id: str, owner: str | None) -> Picture:
        """One picture; with an owner, only if it is theirs. Raises `NotFound`."""
        query = select(pictures).where(pictures.c.id == picture_id)
        if owner is not None:
            query = query.where(pictures.c.owner == owner)
        with self._store.connect() as db:
            row = db.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound("This picture is not here.", "It was deleted, or it belongs to somebody else.")
        return self._picture(row)

    def count(self, owner: str) -> int:
        with self._store.connect() as db:
            return int(db.execute(select(func.count()).select_from(pictures).where(pictures.c.owner == owner)).scalar_one())

    def seconds_since(self, owner: str, since: float) -> float:
        """Seconds that an owner's pictures took to draw since a moment."""
        query = select(func.coalesce(func.sum(pictures.c.seconds), 0.0)).where(pictures.c.owner == owner, pictures.c.created_at >= since)
        with self._store.connect() as db:
            return float(db.execute(query).scalar_one())

    def _picture(self, row: RowMapping) -> Picture:
        return Picture(
            id=row["id"],
            job_id=row["job_id"],
            index=row["number"],
            path=self._data / row["path"],
            width=row["width"],
            height=row["height"],
            seed=row["seed"],
            seconds=row["seconds"],
            recipe=Recipe.from_json(row["recipe"]),
            created_at=datetime.fromtimestamp(row["created_at"], UTC),
        )
