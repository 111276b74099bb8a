"""What a program that follows a job is told: steps at a pace, the newest of them, and all else at once."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing

from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from engine import Event, Finished, Loading, Progress, Watch
from tests.faults.figures import Figures
from ui.api.pace import paced

PACE_S = 0.4
END = Finished("job", (), 1.0)


def step(number: int) -> Progress:
    return Progress("job", 0, 1, number, 99, None)


async def told(watch: Watch, pace_s: float) -> list[tuple[float, Event]]:
    """Every event up to the end, and when it was told."""
    heard: list[tuple[float, Event]] = []
    async with aclosing(paced(watch, pace_s)) as events:
        async for event in events:
            heard.append((time.monotonic(), event))
            if event == END:
                break
    return heard


def drawn(events: list[tuple[float, Event]], pace_s: float = PACE_S) -> tuple[list[tuple[float, Event]], list[float]]:
    """What was told of events that another thread sends after these pauses, and when each was sent."""
    watch, sent = Watch(), list[float]()

    def send() -> None:
        for pause_s, event in events:
            time.sleep(pause_s)
            sent.append(time.monotonic())
            watch.put(event)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        return asyncio.run(asyncio.wait_for(told(watch, pace_s), 30)), sent
    finally:
        sender.join()


def test_of_quick_steps_the_newest_is_told_and_the_end_at_once(figure: Figures) -> None:
    heard, sent = drawn([*((0.005, step(number)) for number in range(1, 100)), (0.005, END)])
    steps = [event.step for _, event in heard if isinstance(event, Progress)]
    assert steps == sorted(set(steps))
    assert steps[0] == 1
    figure("messages about 99 quick steps", len(steps), at_most=(sent[-1] - sent[0]) / PACE_S + 2, unit="")
    figure("messages about 99 quick steps, at least", len(steps), at_least=2, unit="")
    figure("the end is told after", heard[-1][0] - sent[-1], "s", at_most=PACE_S / 2)


def test_slow_steps_are_told_each(figure: Figures) -> None:
    heard, sent = drawn([*((1.5 * PACE_S, step(number)) for number in range(1, 5)), (1.5 * PACE_S, END)])
    assert [event for _, event in heard] == [step(1), step(2), step(3), step(4), END]
    late = sorted(told_s - sent_s for (told_s, _), sent_s in zip(heard, sent, strict=True))
    figure("told after, at most", late[-2], "s", at_most=PACE_S / 2)


def test_the_last_step_is_told_though_nothing_follows_for_long(figure: Figures) -> None:
    """Large pictures are decoded for seconds after their last step"""
    heard, sent = drawn([(0.0, step(1)), (0.01, step(2)), (0.01, step(3)), (2.0, END)])
    assert [event for _, event in heard] == [step(1), step(3), END]
    figure("the last step is told after", heard[1][0] - sent[2], "s", at_most=2 * PACE_S)


@tries(max_examples=60, deadline=None)
@given(kinds=st.lists(st.booleans(), max_size=12))
def test_nothing_but_steps_is_ever_left_out(kinds: list[bool]) -> None:
    events: list[Event] = [step(number) if is_step else Loading("job", str(number)) for number, is_step in enumerate(kinds, start=1)]
    heard, _ = drawn([*((0.0, event) for event in events), (0.0, END)], pace_s=0.001)
    assert [event for _, event in heard if not isinstance(event, Progress)] == [*(one for one in events if isinstance(one, Loading)), END]
