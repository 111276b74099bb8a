"""Fairness: whoever has had less goes first, and nobody's ten jobs stand before another's one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from engine import Job, Recipe
from engine.jobs.queue import FairQueue

RECIPE = Recipe(
    model="m", model_hash="0", prompt="x", negative_prompt="", steps=4, guidance_scale=4, scheduler="ddim", width=64, height=64, seed=1, count=1
)
START = datetime(2026, 1, 1, tzinfo=UTC)


def job(name: str, owner: str, minute: int) -> Job:
    return Job(id=name, owner=owner, recipe=RECIPE, state="queued", attempt=0, created_at=START + timedelta(minutes=minute))


def drain(queue: FairQueue) -> list[str]:
    order: list[str] = []
    while (one := queue.take()) is not None:
        queue.charge(one.owner, 1.0)
        order.append(one.id)
    return order


def test_one_job_of_a_newcomer_passes_a_long_row() -> None:
    queue = FairQueue()
    for number in range(5):
        queue.add(job(f"a{number}", "ann", number))
    queue.add(job("b0", "ben", 9))
    assert drain(queue) == ["a0", "b0", "a1", "a2", "a3", "a4"]


def test_the_shown_order_is_the_order_that_happens() -> None:
    queue = FairQueue()
    for number, owner in enumerate(["ann", "ann", "ben", "cat", "ben", "ann", "cat"]):
        queue.add(job(f"{owner}{number}", owner, number))
    shown = [one.id for one in queue.order({one.id: 1.0 for one in queue.jobs()})]
    assert shown == drain(queue)


def test_a_removed_job_never_runs() -> None:
    queue = FairQueue()
    queue.add(job("a0", "ann", 0))
    queue.add(job("a1", "ann", 1))
    assert queue.remove("a0")
    assert not queue.remove("a0")
    assert drain(queue) == ["a1"]


def test_an_idle_owner_saves_no_credit() -> None:
    queue = FairQueue()
    queue.add(job("a0", "ann", 0))
    assert queue.take() is not None
    queue.charge("ann", 100.0)
    queue.add(job("a1", "ann", 1))
    for number in range(3):
        queue.add(job(f"b{number}", "ben", 2 + number))
    assert drain(queue)[0] == "a1"
