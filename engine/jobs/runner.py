"""One run of a job: from what the host says to what is kept, written down and told."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import Literal

from engine.contract.errors import EngineError, WorkerLost
from engine.contract.events import Cancelled, Drawn, Event, Failed, Finished, Loading, Paused, Progress, Skipped
from engine.contract.results import Job, Picture
from engine.contract.work import BegunAnew, Frozen, Loads, Partial, Pixels, Stepped, Stopped, TilePixels, Work
from engine.contract.work import Skipped as LeftOut
from engine.jobs.audience import Audience
from engine.jobs.hosts.base import Host
from engine.jobs.journal import Journal
from engine.jobs.keeper import Keeper
from engine.jobs.line import Line
from engine.jobs.patience import insist
from engine.jobs.story import ending_of
from engine.jobs.wishes import Wishes
from engine.library.history import History

log = logging.getLogger("easel.jobs")


@dataclass
class Run:
    """A claimed job on a host."""

    job: Job
    host: Host
    wishes: Wishes = field(default_factory=Wishes)
    since: float = field(default_factory=time.monotonic)
    # What its owner should know about how it went; "" while all is as usual.
    note: str = ""


class Runner:
    """Every change of the journal names the run: where it is not the job's any more, nothing is written and nothing told."""

    def __init__(self, *, journal: Journal, history: History, keeper: Keeper, audience: Audience, line: Line) -> None:
        self._journal = journal
        self._history = history
        self._keeper = keeper
        self._audience = audience
        self._line = line

    def pictures(self, job: Job) -> dict[int, Picture]:
        """What earlier runs of the job have finished, by number."""
        return {picture.index: picture for picture in self._history.of_job(job.id) if picture.index < job.recipe.count}

    def draw(self, run: Run, work: Work, done: dict[int, Picture]) -> Event | None:
        """Walk a run to its end and return what is to be told; None when the job goes on elsewhere or at the next start."""
        job = run.job
        left_out = set(work.skip) - done.keys()
        # What earlier runs left of them is not drawn again: their seconds are not those of the whole.
        begun = {picture for picture, *_ in work.tiles}
        stopped: Stopped | Frozen | None = None
        partial: Picture | None = None
        with closing(run.host.run(work, run.wishes)) as messages:
            for message in messages if len(work.skip) < job.recipe.count else ():
                match message:
                    case Loads(what):
                        self._audience.send(Loading(job.id, what))
                    case BegunAnew(what):
                        run.note = what
                        self._audience.send(Loading(job.id, what))
                    case Stepped():
                        self._audience.send(self._progress(job, message, run.note), message.preview)
                    case TilePixels():
                        self._keeper.tile(job, message)
                    case Partial():
                        partial = self._keeper.partial(job, message)
                    case Pixels():
                        picture = self._keeper.picture(job, message)
                        if picture is None:
                            return None
                        done[picture.index] = picture
                        if picture.index not in begun:
                            insist(lambda picture=picture: self._line.learn(picture, run.host.device()))
                        self._audience.send(Drawn(job.id, picture))
                    case LeftOut(number):
                        left_out.add(number)
                        self._audience.send(Skipped(job.id, number))
                    case Stopped() | Frozen():
                        stopped = message
        if partial is not None:
            return self._end(run, "cancelled", done | {partial.index: partial}, 0 if stopped is None else stopped.step)
        if len(done.keys() | left_out) >= job.recipe.count:
            # Whole: whoever wanted it stopped or put aside was too late.
            return self._end(run, "done" if done else "cancelled", done, job.recipe.steps_run)
        if isinstance(stopped, Frozen):
            return self._put_aside(run, stopped)
        return self._end(run, "cancelled", done, 0 if stopped is None else stopped.step)

    def fail(self, job: Job, error: EngineError) -> Failed | None:
        # The message may quote a word of the prompt; its kind says enough for the log.
        log.warning("failed: %s", type(error).__name__, extra={"job": job.id})
        return Failed(job.id, error) if insist(lambda: self._journal.end(job, "failed", error=error)) else None

    def lose(self, run: Run, error: WorkerLost, *, is_closing: bool) -> tuple[Event | None, Job | None]:
        """The worker has died: what is to be told, and the job if it waits again here."""
        if is_closing:
            insist(lambda: self._journal.release(run.job))
            return None, None
        after = insist(lambda: self._journal.crash(run.job))
        if after is None:
            return None, None
        log.warning("the worker died; the job is %s", after.state, extra={"job": after.id})
        match after.state:
            case "queued":
                return Loading(after.id, f"{error.message} A new one is starting, and the job goes on."), after
            case "paused":
                return Paused(after.id, len(self.pictures(after)), after.steps_done), None
            case _:
                return ending_of(after, self._history), None

    def _progress(self, job: Job, at: Stepped, note: str) -> Progress:
        whole = self._line.seconds(job.recipe)
        share = (at.picture + (at.tile + at.step / at.steps) / at.tiles) / job.recipe.count
        left_s = None if whole is None else whole * (1 - share)
        return Progress(job.id, at.picture, job.recipe.count, at.step, at.steps, None, left_s, at.tile, at.tiles, note)

    def _end(self, run: Run, state: Literal["done", "cancelled"], done: dict[int, Picture], steps: int) -> Event | None:
        job, pictures = run.job, tuple(done[index] for index in sorted(done))
        if not insist(lambda: self._journal.end(job, state, steps_done=steps)):
            return None
        if state == "cancelled":
            return Cancelled(job.id, steps, pictures)
        return Finished(job.id, pictures, time.monotonic() - run.since, run.note)

    def _put_aside(self, run: Run, frozen: Frozen) -> Event | None:
        """For its owner, or because the studio closes: then it waits for the next start."""
        self._keeper.frozen(run.job, frozen)
        if run.wishes.now == "leave":
            insist(lambda: self._journal.release(run.job))
            return None
        is_ours = insist(lambda: self._journal.pause(run.job, steps_done=frozen.step))
        return Paused(run.job.id, frozen.picture, frozen.step) if is_ours else None
