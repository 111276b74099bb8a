"""What is in motion on this server: owners' wishes in, jobs to hosts, one thread for each host."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from engine.contract.errors import EngineError, WorkerLost
from engine.contract.estimate import Estimate
from engine.contract.events import Cancelled, Event, Failed, Finished, Loading
from engine.contract.recipe import Recipe
from engine.contract.results import Job
from engine.contract.work import Work
from engine.jobs.audience import Audience
from engine.jobs.estimates import Estimates
from engine.jobs.hosts.base import Host
from engine.jobs.journal import Journal
from engine.jobs.keeper import Keeper
from engine.jobs.leases import Leases, holder_name
from engine.jobs.line import Line
from engine.jobs.patience import insist
from engine.jobs.runner import Run, Runner
from engine.jobs.story import ending_of, pause_of
from engine.jobs.upkeep import Upkeep
from engine.jobs.watch import Watch
from engine.library.history import History
from engine.library.inputs import Inputs
from engine.library.shelves import Shelves
from engine.memory import MemoryDesk

log = logging.getLogger("easel.jobs")
# A run that makes room for the end of the studio is put aside within a step; a step may be a long one.
_LEAVE_S = 15.0
_SWEEP_S = 3600.0


class Dispatcher:
    """The journal is the truth. This holds the line in front of the hosts, the runs on them, and the watchers."""

    def __init__(
        self,
        *,
        hosts: Sequence[Host],
        journal: Journal,
        history: History,
        estimates: Estimates,
        shelves: Shelves,
        inputs: Inputs,
        data: Path,
        memory: MemoryDesk,
    ) -> None:
        self._hosts = hosts
        self._memory = memory
        self._journal = journal
        self._history = history
        self._shelves = shelves
        self._inputs = inputs
        self._keeper = Keeper(history=history, data=data)
        self._audience = Audience()
        self._line = Line(estimates=estimates, inputs=inputs, audience=self._audience, devices=len(hosts), device=self._device)
        self._runner = Runner(journal=journal, history=history, keeper=self._keeper, audience=self._audience, line=self._line)
        self._runs: dict[str, Run] = {}
        # What each host drew last is what it has loaded.
        self._loaded: dict[int, Recipe] = {}
        self._is_closing = False
        self._swept_s = float("-inf")
        self._holder = holder_name()
        self._upkeep = Upkeep(journal=journal, line=self._line, leases=Leases(self._holder), runs=self.runs, told=self._after_beat)
        self._threads = [threading.Thread(target=self._work_through, args=(host,), name="easel-dispatcher", daemon=True) for host in hosts]

    def start(self) -> None:
        insist(self._upkeep.beat)
        self._upkeep.start()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Lose nothing: what runs is put aside within a step and goes on from there at the next start."""
        with self._line.changed:
            self._is_closing = True
            self._line.changed.notify_all()
        for run in self.runs():
            run.wishes.want("leave")
        end = time.monotonic() + _LEAVE_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, end - time.monotonic()))
        for host in self._hosts:
            host.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(10)
        self._upkeep.close()

    def runs(self) -> list[Run]:
        with self._line.changed:
            return list(self._runs.values())

    # What owners do

    def add(self, job: Job) -> None:
        """A job that waits in the journal joins the line."""
        self._audience.open(job.id)
        self._line.join(job)
        self._tell_positions()

    def watch(self, job_id: str, *, sees_previews: bool = True) -> Watch:
        """Join the watchers of a job; for one that is over, a watch that holds its ending."""
        watch = self._audience.join(job_id, sees_previews=sees_previews)
        if watch is None and not self._journal.get(job_id).is_over:
            self._audience.open(job_id)
            self._tell_positions()
            self._tell_others()
            watch = self._audience.join(job_id, sees_previews=sees_previews)
        if watch is None:
            watch = Watch()
            watch.put(ending_of(self._journal.get(job_id), self._history))
        return watch

    def cancel(self, job_id: str, *, keep: bool = False) -> bool:
        """Stop a waiting job now, a running one within a step. False when it is over already."""
        # Between two looks it may have begun, or come back from a worker that died.
        for _ in range(3):
            if (job := self._journal.cancel_waiting(job_id)) is not None:
                self._line.leave(job_id)
                self._tell(job, ending_of(job, self._history))
                self._tell_positions()
                return True
            if self._wish(job_id, "keep" if keep else "stop"):
                return True
        return False

    def pause(self, job_id: str) -> bool:
        """Put a waiting job aside now, a running one within a step. False when it does neither."""
        for _ in range(3):
            if (job := self._journal.pause_waiting(job_id)) is not None:
                self._line.leave(job_id)
                self._tell(job, pause_of(job, self._history))
                self._tell_positions()
                return True
            if self._wish(job_id, "pause"):
                return True
        return False

    def resume(self, job_id: str) -> bool:
        """A paused job waits again, in its old place. False when it is not paused."""
        if (job := self._journal.resume(job_id)) is not None:
            self.add(job)
        return job is not None

    def retry(self, job_id: str) -> Job | None:
        """A job that failed or was stopped waits again, and keeps the pictures that it has. None when it is neither."""
        if (job := self._journal.retry(job_id)) is not None:
            self.add(job)
        return job

    def skip(self, job_id: str, picture: int) -> bool:
        """Leave out one picture; the one that is being drawn ends within a step. False when it is drawn already, or the job over."""
        if any(one.index == picture for one in self._history.of_job(job_id)):
            return False
        job = self._journal.skip(job_id, picture)
        if job is not None and (run := self._runs.get(job_id)) is not None and run.job.attempt == job.attempt:
            run.wishes.want(None, frozenset(job.skipped))
        return job is not None

    def move(self, job_id: str, owner: str, *, before: str | None) -> None:
        """Raises `NotFound` or `InvalidRequest`."""
        self._journal.move(job_id, owner, before=before)
        self._upkeep.refresh()
        self._tell_positions()

    def estimate(self, recipe: Recipe, owner: str) -> Estimate:
        return self._line.estimate(recipe, owner, self._running())

    def waiting(self) -> int:
        return len(self._line)

    # Working

    def _work_through(self, host: Host) -> None:
        while (job := self._next(host)) is not None:
            again = None
            try:
                claimed = insist(lambda job=job: self._journal.claim(job.id, self._holder))
                if claimed is not None:
                    again = self._run(Run(claimed, host))
            except Exception:
                # The last line of defence: a fault of the studio must not silence this device.
                log.exception("unexpected failure", extra={"job": job.id})
            finally:
                with self._line.changed:
                    self._runs.pop(job.id, None)
                self._line.release(job.id)
            if again is not None:
                self._line.join(again, has_paid=True)
            self._line.save()

    def _next(self, host: Host) -> Job | None:
        with self._line.changed:
            while not self._is_closing:
                job = self._line.take(lambda job: self._warmth(host, job.recipe))
                if job is not None:
                    return job
                self._line.changed.wait()
        return None

    def _run(self, run: Run) -> Job | None:
        """Walk a claimed job to its ending and tell it; the job, if it is to wait again."""
        job, again = run.job, None
        with self._line.changed:
            self._runs[job.id] = run
            self._loaded[id(run.host)] = job.recipe
            is_closing = self._is_closing
        try:
            # Whatever was wanted between the claim and this moment is in the journal.
            pulse = insist(lambda: self._journal.pulse(job))
            run.wishes.want("leave" if is_closing else pulse.wish, pulse.skipped)
            self._tell_positions()
            # Only an earlier run can have left some.
            done = {} if job.attempt == 1 else self._runner.pictures(job)
            task = self._task(job, self._shelves.models.folder(job.recipe.model), frozenset(done) | run.wishes.skipped)
            event = self._runner.draw(run, task, done)
        except WorkerLost as error:
            event, again = self._runner.lose(run, error, is_closing=self._is_closing)
        except EngineError as error:
            event = self._runner.fail(job, error)
        except Exception:
            # One job's bug: logged whole with its number, told in a sentence.
            log.exception("unexpected failure", extra={"job": job.id})
            message = "Something went wrong inside the studio."
            event = self._runner.fail(job, EngineError(message, f"Tell the operator this number: {job.id[:8]}."))
        if event is not None:
            self._tell(job, event)
        return again

    def _task(self, job: Job, folder: Path, skip: frozenset[int]) -> Work:
        recipe = job.recipe
        return Work(
            job.id,
            recipe,
            folder,
            skip=skip,
            inputs={digest: self._inputs.path(digest) for digest in recipe.inputs},
            upscaler=None if recipe.upscaler is None else self._shelves.upscalers.path(recipe.upscaler),
            vae=None if recipe.vae_hash is None else self._shelves.vaes.path(recipe.vae or ""),
            loras=tuple(self._shelves.loras.path(use.name) for use in recipe.loras or ()),
            references=tuple(
                (self._shelves.ip_adapters.path(use.adapter or ""), self._shelves.ip_adapters.encoder(use.image_encoder or "", folder))
                for use in recipe.references or ()
            ),
            controls={use.control: self._shelves.controlnets.pinned(use.control, use.control_hash) for use in recipe.controls or () if use.control},
            tiles=self._keeper.tiles.of(recipe),
            embeddings={name: self._shelves.embeddings.path(name) for name in recipe.embeddings or ()},
            attempt=job.attempt,
            frozen=self._keeper.pauses.of(job.id),
            expected_s=self._line.seconds(recipe),
            memory=self._memory.choice,
        )

    def _wish(self, job_id: str, wish: Literal["stop", "keep", "pause"]) -> bool:
        """Tell whoever runs the job. Another server reads it at its next heartbeat. False when nobody does."""
        attempt = self._journal.wish(job_id, wish)
        run = self._runs.get(job_id)
        if run is not None and run.job.attempt == attempt:
            run.wishes.want(wish)
        return attempt is not None

    def _warmth(self, host: Host, recipe: Recipe) -> int:
        """How much of what a recipe needs is loaded: 0 nothing, 1 the model, 2 its adapters too."""
        loaded = self._loaded.get(id(host))
        if loaded is None or loaded.model_hash != recipe.model_hash:
            return 0
        return 2 if loaded.loras == recipe.loras else 1

    def _device(self) -> str:
        """What times are remembered under."""
        return next((name for host in self._hosts if (name := host.device())), "")

    # Watchers

    def _running(self) -> list[tuple[Job, float]]:
        return [(run.job, run.since) for run in self.runs()]

    def _tell_positions(self) -> None:
        self._line.tell_positions(self._running())

    def _tell(self, job: Job, event: Event) -> None:
        if isinstance(event, (Finished, Cancelled, Failed)):
            log.info("ended", extra={"job": job.id, "ending": type(event).__name__.lower()})
            self._keeper.forget(job, is_done=isinstance(event, Finished))
            self._audience.end(event)
        else:
            self._audience.send(event)

    def _after_beat(self) -> None:
        self._tell_others()
        if time.monotonic() - self._swept_s > _SWEEP_S:
            self._swept_s = time.monotonic()
            self._keeper.tiles.sweep()

    def _tell_others(self) -> None:
        """What became of watched jobs that are not in motion here."""
        for job_id in self._audience.beyond(self._line.known()):
            job = self._journal.get(job_id)
            if job.is_over:
                self._audience.end(ending_of(job, self._history))
            elif job.state == "paused":
                self._audience.send_once(pause_of(job, self._history))
            elif job.state == "running":
                self._audience.send_once(Loading(job_id, "Drawing on another server"))
