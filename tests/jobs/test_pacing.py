"""Steps on their way out of a worker: as often as they are shown, the first and the last of each walk always, and everything else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from engine import Engine, Finished, Progress, Settings, TextToImage
from engine.contract.work import HostMessage, Loads, Stepped
from engine.jobs.hosts.pacing import TOLD_EVERY_S, thinned
from tests.conftest import OWNER, events_of

_STEPS = 12


def walked(seconds: list[float]) -> tuple[list[tuple[float, HostMessage]], list[tuple[float, HostMessage]]]:
    """Two pictures, a step after each of `seconds`: what the painter says and what leaves the worker, with their times."""
    clock = 0.0
    said: list[tuple[float, HostMessage]] = []

    def drawing() -> Iterator[HostMessage]:
        nonlocal clock
        for picture in range(2):
            said.append((clock, Loads(f"picture {picture}")))
            yield said[-1][1]
            for step in range(1, _STEPS + 1):
                clock += seconds[picture * _STEPS + step - 1]
                said.append((clock, Stepped(picture, step, _STEPS, None)))
                yield said[-1][1]

    told = [(clock, message) for message in thinned(drawing(), TOLD_EVERY_S, lambda: clock)]
    return said, told


@given(st.lists(st.floats(0.0, 0.3), min_size=2 * _STEPS, max_size=2 * _STEPS))
def test_what_is_told_is_the_newest_and_nothing_else_is_lost(seconds: list[float]) -> None:
    said, told = walked(seconds)
    assert [message for _, message in told if isinstance(message, Loads)] == [message for _, message in said if isinstance(message, Loads)]
    # Each at the moment when it was said, in order.
    assert [one for one in said if one in told] == told
    steps = [(when, message) for when, message in told if isinstance(message, Stepped)]
    for picture in range(2):
        numbers = [message.step for _, message in steps if message.picture == picture]
        assert (numbers[0], numbers[-1]) == (1, _STEPS)
    for (before, _), (when, message) in itertools.pairwise(steps):
        assert when - before >= TOLD_EVERY_S or message.step in (1, _STEPS)


def test_slow_steps_are_all_told() -> None:
    said, told = walked([TOLD_EVERY_S] * 2 * _STEPS)
    assert told == said


def test_a_worker_tells_some_of_many_steps(tmp_path: Path) -> None:
    request = TextToImage.model_validate({"prompt": "a red castle", "steps": 40, "width": 64, "height": 64, "seed": 1})
    with Engine(Settings(data=tmp_path, worker="process", device="cpu")) as engine:
        # The second time nothing has to be loaded.
        *_, (*told, ending) = (events_of(engine, engine.submit(request, OWNER).id) for _ in range(2))
    assert isinstance(ending, Finished)
    steps = [event.step for event in told if isinstance(event, Progress)]
    print(f"{len(steps)} of 40 steps told in {ending.seconds:.2f} s")
    assert steps[-1] == 40
    assert steps == sorted(set(steps))
    assert len(steps) <= ending.seconds / TOLD_EVERY_S + 3
