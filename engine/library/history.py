"""Which pictures there are and whose they are."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, func, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from engine.contract.errors import NotFound
from engine.contract.recipe import Recipe
from engine.contract.results import Picture, TrayCounts
from engine.store import Store
from engine.store import jobs_table as jobs
from engine.store import pictures_table as pictures

# What is left of a picture that was emptied out of the bin: how long it took, for the visitor's hour and the studio's counters.
_IS_HERE = pictures.c.path != ""


class History:
    """Pictures by owner. Paths are kept relative to the data folder, so the folder may move.

    A picture is on the shelf, in the bin, or gone.
    """

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
            # As it is called, not where a link leads: pictures may lie on another disk.
            "path": picture.path.relative_to(self._data).as_posix(),
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

    def of_owner(self, owner: str, limit: int, *, after: str | None = None, in_bin: bool = False) -> list[Picture]:
        """The shelf, newest first, or the bin, last thrown first; `after` is the id of the last picture of the page before."""
        moment = pictures.c.binned_at if in_bin else pictures.c.created_at
        wanted = and_(pictures.c.owner == owner, _IS_HERE, pictures.c.binned_at.is_not(None) if in_bin else pictures.c.binned_at.is_(None))
        with self._store.connect() as db:
            if after is not None:
                known = db.execute(select(moment, pictures.c.id).where(pictures.c.id == after, pictures.c.owner == owner)).one_or_none()
                if known is None or known[0] is None:
                    return []
                wanted = and_(wanted, tuple_(moment, pictures.c.id) < tuple_(*known))
            query = select(pictures).where(wanted).order_by(moment.desc(), pictures.c.id.desc()).limit(limit)
            return [self._picture(row) for row in db.execute(query).mappings()]

    def throw_away(self, picture_ids: Sequence[str], owner: str) -> int:
        """Put pictures of an owner into the bin; how many were put there."""
        return self._mark(picture_ids, owner, pictures.c.binned_at.is_(None), time.time())

    def bring_back(self, picture_ids: Sequence[str], owner: str) -> int:
        """Put pictures of an owner out of the bin onto the shelf, in their old places; how many were."""
        return self._mark(picture_ids, owner, pictures.c.binned_at.is_not(None), None)

    def empty_bin(self, owner: str) -> int:
        """Destroy what lies in an owner's bin, files and recipes; how many pictures that were.

        Files go first: were this cut off in between, what is listed still lies in the bin and the next time takes it.
        """
        in_bin = and_(pictures.c.owner == owner, _IS_HERE, pictures.c.binned_at.is_not(None))
        with self._store.connect() as db:
            rows = db.execute(select(pictures.c.id, pictures.c.path).where(in_bin)).all()
        gone = 0
        for row in rows:
            with contextlib.suppress(OSError):
                (self._data / row.path).unlink(missing_ok=True)
                # Its place in the job becomes free: a retried job may draw it again.
                emptied = update(pictures).where(in_bin, pictures.c.id == row.id).values(path="", recipe="{}", seed=0, job_id=row.id, number=0)
                with self._store.begin() as db:
                    gone += db.execute(emptied).rowcount
        return gone

    def tray(self, owner: str) -> TrayCounts:
        """How many pictures are on an owner's shelf and in their bin."""
        query = select(func.count(), func.count(pictures.c.binned_at)).select_from(pictures).where(pictures.c.owner == owner, _IS_HERE)
        with self._store.connect() as db:
            every, binned = db.execute(query).one()
        return TrayCounts(shelf=every - binned, bin=binned)

    def of_job(self, job_id: str) -> list[Picture]:
        """In the order of the batch, with those in the bin: they are drawn."""
        query = select(pictures).where(pictures.c.job_id == job_id).order_by(pictures.c.number)
        with self._store.connect() as db:
            return [self._picture(row) for row in db.execute(query).mappings()]

    def get(self, picture_id: str, owner: str | None) -> Picture:
        """One picture; with an owner, only if it is theirs. Raises `NotFound`."""
        query = select(pictures).where(pictures.c.id == picture_id, _IS_HERE)
        if owner is not None:
            query = query.where(pictures.c.owner == owner)
        with self._store.connect() as db:
            row = db.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound("This picture is not here.", "It was deleted, or it belongs to somebody else.")
        return self._picture(row)

    def count(self, owner: str) -> int:
        """Pictures that take room on disk, those in the bin too."""
        tray = self.tray(owner)
        return tray.shelf + tray.bin

    def seconds_since(self, owner: str, since: float) -> float:
        """Seconds that an owner's pictures took to draw since a moment."""
        query = select(func.coalesce(func.sum(pictures.c.seconds), 0.0)).where(pictures.c.owner == owner, pictures.c.created_at >= since)
        with self._store.connect() as db:
            return float(db.execute(query).scalar_one())

    def _mark(self, picture_ids: Sequence[str], owner: str, stands: ColumnElement[bool], binned_at: float | None) -> int:
        meant = and_(pictures.c.owner == owner, pictures.c.id.in_(picture_ids), _IS_HERE, stands)
        with self._store.begin() as db:
            return db.execute(update(pictures).where(meant).values(binned_at=binned_at)).rowcount

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
            is_binned=row["binned_at"] is not None,
        )
