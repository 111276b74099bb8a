"""Fairness: nobody's ten jobs stand before another's one, whatever they cost; a warm model wins only among equals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from engine import Job, Recipe
from engine.jobs.queue import EQUAL_S, FairQueue

RECIPE = Recipe(
    model="m", model_hash="0", prompt="x", negative_prompt="", steps=4, guidance_scale=4, scheduler="ddim", width=64, height=64, seed=1, count=1
)
START = datetime(2026, 1, 1, tzinfo=UTC)
OWNERS = ("ann", "ben", "cat")

# (owner, seconds that the job costs), in the order in which they come.
costs = st.floats(0.1, 600)
asked = st.lists(st.tuples(st.sampled_from(OWNERS), costs), min_size=1, max_size=40)


def job(name: str, owner: str, minute: float) -> Job:
    return Job(id=name, owner=owner, recipe=RECIPE, state="queued", attempt=0, created_at=START + timedelta(minutes=minute), place=1 + minute)


class Filled:
    """A queue with jobs of known cost, and how it is drained."""

    def __init__(self, wanted: list[tuple[str, float]]) -> None:
        self.queue = FairQueue()
        self.seconds = {f"{number:03d}": cost for number, (_, cost) in enumerate(wanted)}
        self.all = [job(f"{number:03d}", owner, number) for number, (owner, _) in enumerate(wanted)]
        for one in self.all:
            self.queue.add(one)

    def cost(self, one: Job) -> float:
        return self.seconds[one.id]

    def drain(self, warm: frozenset[str] = frozenset()) -> list[Job]:
        order: list[Job] = []
        while (one := self.queue.take(self.cost, lambda job: int(job.id in warm))) is not None:
            order.append(one)
        return order


def test_one_job_of_a_newcomer_passes_a_long_row() -> None:
    filled = Filled([("ann", 1.0)] * 5 + [("ben", 1.0)])
    assert [one.owner for one in filled.drain()] == ["ann", "ben", "ann", "ann", "ann", "ann"]


def test_a_quick_job_passes_a_slow_one_of_somebody_who_has_not_waited_longer() -> None:
    assert [one.owner for one in Filled([("ann", 60.0), ("ann", 60.0), ("ben", 2.0)]).drain()] == ["ben", "ann", "ann"]


@given(asked)
def test_every_job_is_served_once_and_an_owners_own_in_order(wanted: list[tuple[str, float]]) -> None:
    filled = Filled(wanted)
    served = filled.drain()
    assert sorted(one.id for one in served) == [one.id for one in filled.all]
    for owner in OWNERS:
        own = [one.id for one in served if one.owner == owner]
        assert own == sorted(own)


@given(asked)
def test_the_shown_order_is_the_order_that_happens(wanted: list[tuple[str, float]]) -> None:
    filled = Filled(wanted)
    shown = [one.id for one in filled.queue.order(filled.cost)]
    assert shown == [one.id for one in filled.drain()]


@given(asked, st.sets(st.integers(0, 39)))
def test_who_keeps_waiting_is_never_further_behind_than_one_job(wanted: list[tuple[str, float]], warm: set[int]) -> None:
    filled = Filled(wanted)
    left = {owner: sum(one.owner == owner for one in filled.all) for owner in OWNERS}
    had = dict.fromkeys(OWNERS, 0.0)
    dearest = max(filled.seconds.values())
    for one in filled.drain(frozenset(f"{number:03d}" for number in warm)):
        had[one.owner] += filled.cost(one)
        left[one.owner] -= 1
        waiting = [had[owner] for owner in OWNERS if left[owner]]
        # All have waited from the start, so what they have had may be compared while they still wait.
        if waiting:
            assert max(waiting) - min(waiting) <= dearest + EQUAL_S + 1e-6
        if not left[one.owner]:
            had[one.owner] = 0.0


@given(st.lists(costs, min_size=1, max_size=30), costs)
def test_nobody_starves(others: list[float], dear: float) -> None:
    """A dear job is served at last however many cheap ones keep coming: never after more of them than it costs itself."""
    filled = Filled([("ben", dear), *(("ann", cost) for cost in others)])
    had = 0.0
    for one in filled.drain():
        if one.owner == "ben":
            break
        had += filled.cost(one)
    assert had <= dear + EQUAL_S + 1e-6


@given(asked, st.sets(st.integers(0, 39)))
def test_warmth_decides_among_equals_only(wanted: list[tuple[str, float]], warm: set[int]) -> None:
    names = frozenset(f"{number:03d}" for number in warm)
    filled = Filled(wanted)
    heads = {owner: next(one for one in filled.all if one.owner == owner) for owner in OWNERS if any(one.owner == owner for one in filled.all)}
    cheapest = min(filled.cost(one) for one in heads.values())
    first = filled.queue.take(filled.cost, lambda one: int(one.id in names))
    assert first is not None
    assert filled.cost(first) <= cheapest + EQUAL_S
    if any(one.id in names for one in heads.values() if filled.cost(one) <= cheapest + EQUAL_S):
        assert first.id in names


def test_a_removed_job_never_runs() -> None:
    filled = Filled([("ann", 1.0), ("ann", 1.0)])
    assert filled.queue.remove("000")
    assert not filled.queue.remove("000")
    assert [one.id for one in filled.drain()] == ["001"]


def test_a_moved_job_runs_in_its_new_place() -> None:
    filled = Filled([("ann", 1.0)] * 3)
    filled.queue.place({"002": 0.5})
    assert [one.id for one in filled.drain()] == ["002", "000", "001"]


def test_an_idle_owner_saves_no_credit_and_owes_nothing() -> None:
    filled = Filled([("ann", 100.0)])
    filled.drain()
    filled.seconds |= {"a1": 1.0, "b1": 1.0, "b2": 1.0}
    for name, owner in (("a1", "ann"), ("b1", "ben"), ("b2", "ben")):
        filled.queue.add(job(name, owner, 5))
    assert [one.id for one in filled.drain()] == ["a1", "b1", "b2"]


def test_a_job_that_came_to_nothing_is_next_again() -> None:
    filled = Filled([("ann", 5.0), ("ben", 5.0)])
    one = filled.queue.take(filled.cost)
    assert one is not None
    filled.queue.give_back(one, filled.cost(one))
    assert [each.id for each in filled.drain()] == ["000", "001"]
