"""The heartbeat of a server: its runs say that they live, dead ones are taken over, the line follows the journal."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from engine.contract.errors import EngineError
from engine.jobs.journal import Journal
from engine.jobs.leases import BEAT_S, Leases
from engine.jobs.line import Line
from engine.jobs.patience import UNREACHABLE
from engine.jobs.runner import Run

log = logging.getLogger("easel.jobs")


class Upkeep:
    def __init__(self, *, journal: Journal, line: Line, leases: Leases, runs: Callable[[], list[Run]], told: Callable[[], None]) -> None:
        self._journal = journal
        self._line = line
        self._leases = leases
        self._runs = runs
        self._told = told
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="easel-upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def beat(self) -> None:
        for run in self._runs():
            pulse = self._journal.pulse(run.job)
            # Taken over by somebody who took us for dead: what it still draws would be thrown away.
            run.wishes.want(pulse.wish if pulse.is_ours else "stop", pulse.skipped)
        for held in self._leases.expired(self._journal.held()):
            if (job := self._journal.crash(held)) is not None:
                log.warning("the server of a job is gone; the job is %s", job.state, extra={"job": job.id})
        self.refresh()
        self._told()

    def refresh(self) -> None:
        """The line is what waits in the journal, in the order of the journal."""
        # Looked at first: what is accepted after this look must not be taken for gone.
        queued, known = self._line.queued(), self._line.known()
        waiting = self._journal.waiting()
        new = [self._journal.get(job_id) for job_id in waiting.keys() - known]
        new = sorted((job for job in new if job.state == "queued"), key=lambda job: job.place)
        self._line.refresh(waiting, queued - waiting.keys(), new)

    def _keep_beating(self) -> None:
        while not self._closed.wait(BEAT_S):
            try:
                self.beat()
            except UNREACHABLE as error:
                log.warning("the database cannot be reached (%s); the next heartbeat tries again", type(error).__name__)
            except EngineError as error:
                log.warning("heartbeat: %s", error)
            except Exception:
                # The thread's edge: a studio whose heart stops loses its jobs to others.
                log.exception("unexpected failure in the heartbeat")
