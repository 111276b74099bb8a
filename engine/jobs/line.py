"""The line in front of the devices: who waits, what each will cost, when it is their turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from engine.contract.estimate import Estimate
from engine.contract.events import Queued
from engine.contract.recipe import Recipe
from engine.contract.results import Job, Picture
from engine.jobs.audience import Audience
from engine.jobs.estimates import Estimates, work
from engine.jobs.fit import Spread
from engine.jobs.queue import Cost, FairQueue
from engine.library.inputs import Inputs

# Jobs that are being drawn, each with the moment at which it began.
Running = Sequence[tuple[Job, float]]


class Line:
    """The fair queue of this server and what it knows about time. `changed` is told when somebody joins."""

    def __init__(self, *, estimates: Estimates, inputs: Inputs, audience: Audience, devices: int, device: Callable[[], str]) -> None:
        self._estimates = estimates
        self._inputs = inputs
        self._audience = audience
        self._devices = devices
        self._device = device
        self._queue = FairQueue()
        # Jobs that have left the queue and are not over: nobody may queue them a second time.
        self._taken: set[str] = set()
        self._sizes: dict[str, tuple[int, int] | None] = {}
        self.changed = threading.Condition()

    def __len__(self) -> int:
        with self.changed:
            return len(self._queue)

    def join(self, job: Job, *, has_paid: bool = False) -> None:
        """A waiting job, once. One that came back from a worker that died has been paid for."""
        with self.changed:
            # One that was accepted before the start is found in the journal again.
            if job.id in self._taken or job.id in self.queued():
                return
            if has_paid:
                self._queue.give_back(job, self.cost(job))
            else:
                self._queue.add(job)
            self.changed.notify_all()

    def leave(self, job_id: str) -> None:
        with self.changed:
            self._queue.remove(job_id)

    def take(self, warmth: Callable[[Job], int]) -> Job | None:
        """The next job, if there is one; to be given to `release` when it is over."""
        with self.changed:
            job = self._queue.take(self._prices(), warmth)
            if job is not None:
                self._taken.add(job.id)
            return job

    def release(self, job_id: str) -> None:
        with self.changed:
            self._taken.discard(job_id)

    def queued(self) -> set[str]:
        with self.changed:
            return {job.id for job in self._queue.jobs()}

    def known(self) -> set[str]:
        """Jobs that wait here or are under way here."""
        with self.changed:
            return self.queued() | self._taken

    def refresh(self, places: dict[str, float], gone: Iterable[str], new: Iterable[Job]) -> None:
        """What the journal says has changed."""
        with self.changed:
            for job_id in gone:
                self._queue.remove(job_id)
            self._queue.place(places)
        for job in new:
            self.join(job)

    # Time

    def learn(self, picture: Picture, device: str) -> None:
        self._estimates.learn(picture.recipe, device, picture.seconds, self._source_size(picture.recipe))

    def save(self) -> None:
        """Write down what was learned. Never raises; of no job, so to be called when one is told and let go."""
        self._estimates.save()

    def seconds(self, recipe: Recipe) -> float | None:
        """Seconds of drawing for a recipe; None while nothing is known about its model here."""
        spread = self._spread(recipe)
        return None if spread is None else spread.seconds

    def cost(self, job: Job) -> float:
        """Seconds of the device; while nothing is known about the model, its work stands for them."""
        seconds = self.seconds(job.recipe)
        return work(job.recipe, self._source_size(job.recipe)) if seconds is None else seconds

    def estimate(self, recipe: Recipe, owner: str, running: Running) -> Estimate:
        """How long it would take, and when it would begin if it were asked for now."""
        probe = Job(id="", owner=owner, recipe=recipe, state="queued", attempt=0, created_at=datetime.now(UTC), place=float("inf"))
        with self.changed:
            queue = self._queue.copy()
        queue.add(probe)
        order = queue.order(self._prices())
        ahead = order[: next(number for number, job in enumerate(order) if job is probe)]
        spread = self._spread(recipe)
        seconds, low, high = (spread.seconds, spread.low, spread.high) if spread else (None, None, None)
        return Estimate(seconds, low, high, self._ahead_s(ahead, running), len(ahead) + 1)

    def tell_positions(self, running: Running) -> None:
        """Tell everybody who waits, where something has changed for them."""
        with self.changed:
            order = self._queue.order(self._prices())
        ahead_s = self._ahead_s([], running)
        for position, job in enumerate(order, start=1):
            self._audience.send_once(Queued(job.id, position, ahead_s))
            own = self.seconds(job.recipe)
            ahead_s = None if ahead_s is None or own is None else ahead_s + own / self._devices

    def _prices(self) -> Cost:
        """`cost`, worked out once for each job: an order asks for each as often as there are owners."""
        known: dict[str, float] = {}

        def price(job: Job) -> float:
            if job.id not in known:
                known[job.id] = self.cost(job)
            return known[job.id]

        return price

    def _spread(self, recipe: Recipe) -> Spread | None:
        return self._estimates.spread(recipe, self._device(), self._source_size(recipe))

    def _ahead_s(self, ahead: Iterable[Job], running: Running) -> float | None:
        """Seconds until all of these and what runs are drawn; None while that cannot be said."""
        total = 0.0
        now = time.monotonic()
        for job, since in (*((job, now) for job in ahead), *running):
            seconds = self.seconds(job.recipe)
            if seconds is None:
                return None
            total += max(0.0, seconds - (now - since))
        return total / self._devices

    def _source_size(self, recipe: Recipe) -> tuple[int, int] | None:
        if recipe.mode != "upscale" or recipe.source is None:
            return None
        if recipe.source not in self._sizes:
            self._sizes[recipe.source] = self._inputs.size(recipe.source)
        return self._sizes[recipe.source]
