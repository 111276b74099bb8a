"""The framework's queue, woken by a request instead of looking for one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from fastapi import Request
from gradio.blocks import Blocks
from gradio.data_classes import PredictBodyInternal
from gradio.queueing import Event, Queue
from gradio.utils import set_task_name

# Should news ever be missed, nobody waits longer for it than this. It also looks this often for bars of the framework's own, which nothing here has.
_LOOK_S = 0.5
_NEVER = 2**62


class ArrivalQueue(Queue):
    """Gradio's `Queue` looks for requests a thousand times a second, day and night (7 to 9 % of a core), and counts its past for a page that is off."""

    def __init__(self, blocks: Blocks, *, at_once: int) -> None:
        """`at_once` requests run side by side."""
        super().__init__(
            live_updates=True, concurrency_count=at_once, update_intervals=1, max_size=None, blocks=blocks, default_concurrency_limit=None
        )
        self.progress_update_sleep_when_free = _LOOK_S
        # A table of the last ten thousand requests, made anew after each of them: 4 to 10 ms of a core.
        self.ANALYTICS_MAX_EVENTS = 1
        self.ANAYLTICS_CACHE_FREQUENCY = _NEVER
        self._news = asyncio.Event()

    def start(self) -> None:
        # An event belongs to the loop that it was first awaited in.
        self._news = asyncio.Event()
        super().start()

    def close(self) -> None:
        super().close()
        self._news.set()

    async def push(self, body: PredictBodyInternal, request: Request, username: str | None) -> Any:
        answer = await super().push(body, request, username)
        self._news.set()
        return answer

    async def process_events(self, events: list[Event], batch: bool, begin_time: float, fn: Any) -> None:
        try:
            await super().process_events(events, batch, begin_time, fn)
        finally:
            # A place has become free.
            self._news.set()

    async def start_processing(self) -> None:
        try:
            while not self.stopped:
                await _within(self._news.wait(), _LOOK_S)
                self._news.clear()
                while None in self.active_jobs and await self._begin_next():
                    pass
        finally:
            self.stopped = True
            self._cancel_asyncio_tasks()

    async def _begin_next(self) -> bool:
        """Whether a request was waiting that may run. It keeps the books that `process_events` closes."""
        async with self.delete_lock:
            found = self.get_events()
        if found is None:
            return False
        events, is_batch, line_id = found
        begin, fn, line = time.time(), events[0].fn, self.event_queue_per_concurrency_id[line_id]
        self.active_jobs[self.active_jobs.index(None)] = events
        line.current_concurrency += 1
        line.start_times_per_fn[fn].add(begin)
        task = asyncio.create_task(self.process_events(events, is_batch, begin, fn))
        # By its name a visitor who goes away ends it.
        set_task_name(task, events[0].session_hash, fn._id, events[0]._id, is_batch)  # pyright: ignore[reportPrivateUsage]
        self._asyncio_tasks.add(task)
        task.add_done_callback(self._asyncio_tasks.discard)
        self.broadcast_estimations(line_id)
        return True


async def _within(awaited: Coroutine[Any, Any, object], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await awaited
    except TimeoutError:
        pass
