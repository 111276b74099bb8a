"""Advice about samplers: said for the known pitfalls, silent where all is well, and never in the way."""

from __future__ import annotations

import pytest

from engine.contract.advice import advise
from engine.contract.schedulers import SCHEDULER_FACTS, SCHEDULER_GROUPS, ScheduleName, SchedulerName
from tests.contract.test_wildcards import CARD

DISTILLED = CARD.model_copy(update={"title": "Quick", "default_steps": 4, "default_guidance": 1.0})


@pytest.mark.parametrize("name", [name for name, facts in SCHEDULER_FACTS.items() if facts.group != "few_steps"])
def test_an_ordinary_run_is_left_alone(name: SchedulerName) -> None:
    assert advise(CARD, name, None, 60, 7.5) == ()


@pytest.mark.parametrize(
    ("name", "steps", "guidance", "said"),
    [
        ("euler_a", 8, 7, "8 steps are few for Euler a"), ("ddpm", 20, 7, "few for DDPM"), ("lms", 20, 7, "finished from about 24"),
        ("dpmpp_2m", 120, 7, "nobody sees"), ("euler_a", 101, 7, "another picture"), ("lcm", 6, 7, "burns colours with LCM"),
        ("tcd", 6, 7.5, "Guidance 7.5 burns colours with TCD"), ("lcm", 30, 1, "30 steps gain nothing"), ("tcd", 4, 1, "made for it"), ("euler", 1, 7, "1 step is few"),
    ],
)  # fmt: skip
def test_known_pitfalls_are_told(name: SchedulerName, steps: int, guidance: float, said: str) -> None:
    assert said in " ".join(advise(CARD, name, None, steps, guidance))


def test_a_distilled_model_wants_few_steps_and_little_guidance() -> None:
    assert advise(DISTILLED, "euler", None, 4, 1) == ()
    assert "burns colours on Quick" in advise(DISTILLED, "euler", None, 4, 7)[0]
    assert advise(DISTILLED, "lcm", None, 4, 1) == ()
    assert advise(CARD, "lcm", None, 4, 1) != () == advise(CARD, "lcm", None, 4, 1, has_helper=True)


def test_ten_or_more_steps_of_the_quick_ones_are_enough() -> None:
    quick: list[SchedulerName] = ["unipc", "deis"]
    schedules: list[ScheduleName | None] = [None, "karras"]
    assert [advise(CARD, name, one, 10, 7) for name in quick for one in schedules] == [(), (), (), ()]
    assert set(SCHEDULER_GROUPS) == {facts.group for facts in SCHEDULER_FACTS.values()}
