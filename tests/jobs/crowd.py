"""Servers in processes of their own that draw from one journal, some of them dying: for tests of exactly-once."""

from __future__ import annotations

import random
import secrets
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.contract.recipe import Recipe
from engine.contract.results import Job, Picture
from engine.jobs.journal import Journal
from engine.jobs.leases import Leases, holder_name
from engine.library.history import History
from engine.store import Store, open_store

RECIPE = Recipe(
    model="m", model_hash="0", prompt="x", negative_prompt="", steps=4, guidance_scale=4, scheduler="ddim", width=64, height=64, seed=1, count=1
)


def picture_of(job: Job, data: Path) -> Picture:
    return Picture(
        id=secrets.token_hex(16), job_id=job.id, index=0, path=data / "x.png", width=64, height=64, seed=1, seconds=1.0,
        recipe=job.recipe, created_at=datetime.now(UTC),
    )  # fmt: skip


class Worker:
    """A thread that claims, draws and ends jobs until none is open. Some runs are left lying, and their results come late."""

    def __init__(self, store: Store, data: Path, holder: str, seed: int) -> None:
        self._journal, self._history, self._data = Journal(store), History(store, data), data
        self._rng = random.Random(seed)
        self._holder = holder
        self._leases = Leases(holder, lease_s=5.0)
        self._late: list[Job] = []
        self.ended = self.late_results = 0

    def work(self) -> None:
        while self._journal.waiting() or self._journal.held():
            waiting = sorted(self._journal.waiting())
            for job_id in self._rng.sample(waiting, k=min(3, len(waiting))):
                job = self._journal.claim(job_id, self._holder)
                if job is not None:
                    self._run(job)
            for held in self._leases.expired(self._journal.held()):
                self._journal.crash(held)
            time.sleep(0.05)
        for job in self._late:
            self.late_results += self._history.add(picture_of(job, self._data), job.owner, attempt=job.attempt)
            self.late_results += self._journal.end(job, "failed")

    def _run(self, job: Job) -> None:
        # One death at most for each job: a second one would set it aside.
        if job.attempt == 1 and self._rng.random() < 0.2:
            self._late.append(job)
            return
        time.sleep(self._rng.random() * 0.02)
        if self._history.add(picture_of(job, self._data), job.owner, attempt=job.attempt):
            self.ended += self._journal.end(job, "done", steps_done=4)


def serve(data: Path, url: str, seed: int, threads: int, answers: Any) -> None:
    """One process: its threads share a pool of connections, as those of a server do."""
    store = open_store(data, url)
    holder = holder_name()
    workers = [Worker(store, data, holder, seed * 100 + number) for number in range(threads)]
    running = [threading.Thread(target=worker.work) for worker in workers]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    answers.put((sum(worker.ended for worker in workers), sum(worker.late_results for worker in workers)))
    store.dispose()
