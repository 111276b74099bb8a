"""Takes the next job, has the host draw it, writes what comes back, tells the watchers. One thread for one host."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

from engine.contract.errors import EngineError, NotFound, WorkerLost
from engine.contract.events import Cancelled, Drawn, Ending, Event, Failed, Finished, Loading, Progress, Queued
from engine.contract.recipe import Recipe
from engine.contract.results import Job, Picture
from engine.contract.work import Loads, Pixels, Stepped, Stopped, TilePixels, Work
from engine.jobs.estimates import Estimates, work
from engine.jobs.hosts.base import Host
from engine.jobs.journal import ATTEMPTS_MAX, Journal
from engine.jobs.queue import FairQueue
from engine.jobs.watch import Broadcast, Watch
from engine.library.catalogue import Catalogue
from engine.library.controlnets import ControlNets
from engine.library.embeddings import Embeddings
from engine.library.history import History
from engine.library.inputs import Inputs
from engine.library.ip_adapters import IpAdapters
from engine.library.loras import Loras
from engine.library.pictures import write_picture
from engine.library.tiles import FinishedTiles
from engine.library.upscalers import Upscalers

log = logging.getLogger("easel.jobs")


class Dispatcher:
    """Holds the queue and the watchers; the journal is the truth, this is what is in motion."""

    def __init__(
        self,
        *,
        host: Host,
        journal: Journal,
        history: History,
        catalogue: Catalogue,
        inputs: Inputs,
        upscalers: Upscalers,
        loras: Loras,
        embeddings: Embeddings,
        controls: ControlNets,
        ip_adapters: IpAdapters,
        data: Path,
    ) -> None:
        self._host = host
        self._journal = journal
        self._history = history
        self._catalogue = catalogue
        self._inputs = inputs
        self._upscalers = upscalers
        self._loras = loras
        self._embeddings = embeddings
        self._controls = controls
        self._ip_adapters = ip_adapters
        self._images = data / "images"
        self._tiles = FinishedTiles(data / "tiles")
        self.estimates = Estimates()
        self._queue = FairQueue()
        self._broadcasts: dict[str, Broadcast] = {}
        self._stop_wanted: set[str] = set()
        self._running: Job | None = None
        self._running_since = 0.0
        self._lock = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._work_through, name="easel-dispatcher", daemon=True)

    def start(self) -> None:
        self._tiles.sweep()
        for job in self._journal.recover():
            self.add(job)
        self._thread.start()

    def add(self, job: Job) -> None:
        with self._lock:
            if job.id in self._broadcasts:
                # Accepted before the start, which finds it in the journal again.
                return
            self._broadcasts[job.id] = Broadcast()
            self._queue.add(job)
            self._lock.notify_all()
        self._tell_positions()

    def watch(self, job_id: str) -> Watch:
        """Join the watchers of a job that is in motion; for one that is over, a watch that holds its ending."""
        with self._lock:
            broadcast = self._broadcasts.get(job_id)
            if broadcast is not None:
                return broadcast.join()
        watch = Watch()
        watch.put(self._ending_from_journal(job_id))
        return watch

    def cancel(self, job_id: str) -> bool:
        """Stop a waiting job now, a running one within a step. False when it is over already."""
        with self._lock:
            if self._running is not None and self._running.id == job_id:
                self._stop_wanted.add(job_id)
                self._host.stop(job_id)
                return True
            was_waiting = self._queue.remove(job_id)
        if was_waiting and self._journal.end(job_id, "cancelled"):
            self._send_ending(Cancelled(job_id, step=0, pictures=()))
            self._tell_positions()
        return was_waiting

    def waiting(self) -> int:
        with self._lock:
            return len(self._queue)

    def close(self) -> None:
        """Finish nothing, lose nothing: a running job goes back to the queue in the journal at the next start."""
        with self._lock:
            self._is_closing = True
            self._lock.notify_all()
        self._host.close()
        if self._thread.is_alive():
            self._thread.join(10)

    def _work_through(self) -> None:
        while (job := self._next()) is not None:
            try:
                if self._journal.claim(job.id):
                    self._tell_positions()
                    ending = self._run(job)
                    if ending is not None:
                        self._send_ending(ending)
            except Exception:
                # The last line of defence: one job's bug must not silence the studio.
                log.exception("job %s: unexpected failure", job.id)
                error = EngineError("Something went wrong inside the studio.", f"Tell the operator this number: {job.id[:8]}.")
                self._journal.end(job.id, "failed", error=error)
                self._send_ending(Failed(job.id, error))
            finally:
                with self._lock:
                    self._running = None
                self._stop_wanted.discard(job.id)

    def _next(self) -> Job | None:
        with self._lock:
            while not self._is_closing:
                job = self._queue.take()
                if job is not None:
                    self._queue.charge(job.owner, self._work(job.recipe))
                    self._running = job
                    self._running_since = time.monotonic()
                    return job
                self._lock.wait()
        return None

    def _run(self, job: Job) -> Ending | None:
        """Draw a claimed job to its one ending; None when the studio closes first and the job waits for the next start."""
        try:
            if job.attempt >= ATTEMPTS_MAX:
                raise WorkerLost("This job has stopped the studio twice and was set aside.", "Try it smaller, or with another model.")
            return self._draw(job)
        except EngineError as error:
            if self._is_closing and isinstance(error, WorkerLost):
                self._journal.release(job.id)
                return None
            # The message may quote a word of the prompt; its kind says enough for the log.
            log.warning("failed: %s", type(error).__name__, extra={"job": job.id})
            return self._fail(job, error)

    def _draw(self, job: Job) -> Ending:
        started = time.monotonic()
        done = {picture.index: picture for picture in self._history.of_job(job.id)}
        folder = self._catalogue.folder(job.recipe.model)
        task = self._task(job, folder, frozenset(done))
        if job.id in self._stop_wanted:
            self._host.stop(job.id)
        stopped_at: int | None = None
        with closing(self._host.run(task)) as messages:
            for message in messages:
                match message:
                    case Loads(what):
                        self._send(Loading(job.id, what))
                    case Stepped(picture, step, steps, preview, tile, tiles):
                        left = self._left(job, picture + (tile + step / steps) / tiles)
                        self._send(Progress(job.id, picture, job.recipe.count, step, steps, preview, left, tile, tiles))
                    case TilePixels():
                        self._tiles.keep(job.recipe, message)
                    case Pixels():
                        done[message.picture] = self._keep(job, message)
                        self._send(Drawn(job.id, done[message.picture]))
                    case Stopped(step):
                        stopped_at = step
        if stopped_at is not None:
            self._journal.end(job.id, "cancelled", steps_done=stopped_at)
            return Cancelled(job.id, stopped_at, _in_order(done))
        self._journal.end(job.id, "done", steps_done=job.recipe.steps_run)
        self._tiles.forget(job.recipe)
        return Finished(job.id, _in_order(done), time.monotonic() - started)

    def _task(self, job: Job, folder: Path, skip: frozenset[int]) -> Work:
        recipe = job.recipe
        return Work(
            job.id,
            recipe,
            folder,
            skip=skip,
            inputs={digest: self._inputs.path(digest) for digest in recipe.inputs},
            upscaler=None if recipe.upscaler is None else self._upscalers.path(recipe.upscaler),
            loras=tuple(self._loras.path(use.name) for use in recipe.loras or ()),
            references=tuple(
                (self._ip_adapters.path(use.adapter or ""), self._ip_adapters.encoder(use.image_encoder or "", folder))
                for use in recipe.references or ()
            ),
            tiles=self._tiles.of(recipe),
            embeddings={name: self._embeddings.path(name) for name in recipe.embeddings or ()},
            controls={use.control: self._controls.pinned(use.control, use.control_hash) for use in recipe.controls or () if use.control},
        )

    def _keep(self, job: Job, pixels: Pixels) -> Picture:
        now = datetime.now(UTC)
        recipe = job.recipe.for_picture(pixels.picture)
        picture_id = secrets.token_hex(16)
        image = Image.frombytes("RGB", (pixels.width, pixels.height), pixels.rgb)
        path = write_picture(self._images, picture_id=picture_id, image=image, recipe=recipe, now=now)
        picture = Picture(
            id=picture_id,
            job_id=job.id,
            index=pixels.picture,
            path=path,
            width=pixels.width,
            height=pixels.height,
            seed=recipe.seed,
            seconds=pixels.seconds,
            recipe=recipe,
            created_at=now,
        )
        self._history.add(picture, job.owner)
        self.estimates.learn(recipe, pixels.seconds, self._source_size(recipe))
        return picture

    def _fail(self, job: Job, error: EngineError) -> Failed:
        self._journal.end(job.id, "failed", error=error)
        return Failed(job.id, error)

    def _left(self, job: Job, pictures_done: float) -> float | None:
        whole = self.seconds(job.recipe)
        return None if whole is None else whole * (1 - pictures_done / job.recipe.count)

    def seconds(self, recipe: Recipe) -> float | None:
        """Seconds of drawing for a recipe; None while nothing is known about this machine."""
        return self.estimates.seconds(recipe, self._source_size(recipe))

    def _work(self, recipe: Recipe) -> float:
        return work(recipe, self._source_size(recipe))

    def _source_size(self, recipe: Recipe) -> tuple[int, int] | None:
        return self._inputs.size(recipe.source) if recipe.mode == "upscale" and recipe.source else None

    def _send(self, event: Event) -> None:
        broadcast = self._broadcasts.get(event.job_id)
        if broadcast is not None:
            broadcast.send(event)

    def _send_ending(self, ending: Ending) -> None:
        """Tell those who watch, then forget: later watchers find the ending in the journal."""
        log.info("ended", extra={"job": ending.job_id, "ending": type(ending).__name__.lower()})
        with self._lock:
            broadcast = self._broadcasts.pop(ending.job_id, None)
        if broadcast is not None:
            broadcast.send(ending)

    def _tell_positions(self) -> None:
        with self._lock:
            running = self._running
            order = self._queue.order({job.id: self._work(job.recipe) for job in self._queue.jobs()})
            ahead_s = self.seconds(running.recipe) if running else 0.0
        for position, job in enumerate(order, start=1):
            self._send(Queued(job.id, position, ahead_s))
            own = self.seconds(job.recipe)
            ahead_s = None if ahead_s is None or own is None else ahead_s + own

    def _ending_from_journal(self, job_id: str) -> Ending:
        job = self._journal.get(job_id)
        pictures = tuple(self._history.of_job(job_id))
        if job.state == "failed":
            return Failed(job_id, EngineError.from_plain(job.error or {}))
        if job.state == "cancelled":
            return Cancelled(job_id, self._journal.steps_done(job_id), pictures)
        if job.state == "done":
            return Finished(job_id, pictures, sum(picture.seconds for picture in pictures))
        raise NotFound("This job is not in motion.", "Start the studio again; it goes on from the journal.")


def _in_order(pictures: dict[int, Picture]) -> tuple[Picture, ...]:
    return tuple(pictures[index] for index in sorted(pictures))
