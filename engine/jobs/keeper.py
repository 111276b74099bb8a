"""What comes out of a run is kept: pictures, tiles, walks that were put aside, and how long it took."""

from __future__ import annotations

import contextlib
import logging
import secrets
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from engine.contract.errors import DiskFull
from engine.contract.recipe import Recipe
from engine.contract.results import Job, Picture
from engine.contract.work import Frozen, Partial, Pixels, TilePixels
from engine.jobs.patience import insist
from engine.library.history import History
from engine.library.pauses import Pauses
from engine.library.pictures import write_picture
from engine.library.tiles import FinishedTiles

log = logging.getLogger("easel.jobs")


class Keeper:
    def __init__(self, *, history: History, data: Path) -> None:
        self._history = history
        self._images = data / "images"
        self.tiles = FinishedTiles(data / "tiles")
        self.pauses = Pauses(data / "paused")

    def picture(self, job: Job, pixels: Pixels) -> Picture | None:
        """Write and list a picture of a run; None when the job is not that run's any more. Raises `DiskFull`."""
        return self._keep(job, pixels, job.recipe.for_picture(pixels.picture), pixels.picture)

    def partial(self, job: Job, partial: Partial) -> Picture | None:
        """The same for what there was of a picture that was stopped.

        It stands behind the pictures of the job, one for each attempt: the picture itself can still be drawn.
        """
        recipe = job.recipe.for_picture(partial.picture).model_copy(update={"stopped_after_calls": partial.calls})
        return self._keep(job, partial, recipe, job.recipe.count + job.attempt)

    def _keep(self, job: Job, pixels: Pixels, recipe: Recipe, index: int) -> Picture | None:
        now = datetime.now(UTC)
        # Known only now: an automatic plan may have had to make the weights smaller.
        recipe = recipe.model_copy(update={"packing": pixels.packing})
        picture_id = secrets.token_hex(16)
        rgb = np.frombuffer(pixels.rgb, np.uint8).reshape(pixels.height, pixels.width, 3)
        path = write_picture(self._images, picture_id=picture_id, pixels=rgb, recipe=recipe, now=now)
        picture = Picture(
            id=picture_id,
            job_id=job.id,
            index=index,
            path=path,
            width=pixels.width,
            height=pixels.height,
            seed=recipe.seed,
            seconds=pixels.seconds,
            recipe=recipe,
            created_at=now,
        )
        if insist(lambda: self._history.add(picture, job.owner, attempt=job.attempt)):
            return picture
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def tile(self, job: Job, tile: TilePixels) -> None:
        self.tiles.keep(job.recipe, tile)

    def frozen(self, job: Job, frozen: Frozen) -> None:
        """Keep where a run was put aside. Without it the job only begins that picture anew, to the same bytes."""
        if frozen.state is None:
            return
        try:
            self.pauses.keep(job.id, frozen.state)
        except DiskFull as error:
            log.warning("not put aside: %s", type(error).__name__, extra={"job": job.id})

    def forget(self, job: Job, *, is_done: bool) -> None:
        """A job is over. The tiles of one that was stopped stay for who goes on."""
        self.pauses.forget(job.id)
        if is_done:
            self.tiles.forget(job.recipe)
