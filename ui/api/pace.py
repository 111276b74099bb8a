"""A job's events for a program that follows it: steps at a pace, all else at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from engine import Event, Progress, Watch
from ui.bell import wake

# Half as often as the page shows a frame: enough for a bar.
STEP_PACE_S = 0.25


async def paced(watch: Watch, pace_s: float) -> AsyncGenerator[Event, None]:
    """The events of `watch`, without end. Of the steps within `pace_s` seconds the newest is told, and none where something followed it.

    Each message that is streamed costs a millisecond of a core here and as much in the client, and where two cores draw, drawing waits for both.
    """
    loop, news = asyncio.get_running_loop(), asyncio.Event()
    held: Progress | None = None
    due_s = 0.0

    def told(event: Event) -> None:
        """In the thread that draws. A step that is not due yet need not wake anybody: the newest lies in the watch when one is."""
        if loop.time() >= due_s or not isinstance(event, Progress):
            wake(loop, news.set)

    watch.listen(told)
    while True:
        news.clear()
        # Read before the watch: a step that is put there after this look, and is due by then, wakes.
        now = loop.time()
        event = watch.take()
        if isinstance(event, Progress):
            held = event
        elif event is not None:
            held = None
            yield event
        elif held is not None and now >= due_s:
            event, held, due_s = held, None, now + pace_s
            yield event
        else:
            alarm = loop.call_at(due_s, news.set) if now < due_s else None
            await news.wait()
            if alarm is not None:
                alarm.cancel()
