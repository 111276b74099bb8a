"""Samplers and noise schedules: which go together, what they are called, and that nothing old has changed."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from engine import DamagedFile, InvalidRequest, Recipe, TextToImage, parse_request
from engine.contract.recipe import resolve
from engine.contract.schedulers import (
    SCHEDULE_LABELS,
    SCHEDULE_NOTES,
    SCHEDULER_FACTS,
    SCHEDULER_GROUPS,
    SCHEDULER_LABELS,
    ScheduleName,
    SchedulerName,
    check_sampling,
    model_calls,
    schedules_of,
)
from tests.contract.test_recipe import CARD

# Written before there were noise schedules.
OLD = (
    '{"count":1,"guidance_scale":4.0,"height":192,"mode":"txt2img","model":"starter","model_hash":"ab","negative_prompt":"","prompt":"x",'
    '"scheduler":"heun","seed":1,"steps":20,"version":1,"width":256}'
)


def test_an_old_recipe_reads_and_stays_the_same_bytes() -> None:
    recipe = Recipe.from_json(OLD)
    assert recipe.schedule is None
    assert recipe.canonical_json() == OLD
    assert resolve(TextToImage(prompt="x"), CARD).to_plain().keys() == json.loads(OLD).keys()


def test_a_noise_schedule_is_part_of_the_recipe() -> None:
    recipe = resolve(TextToImage(prompt="x", scheduler="dpmpp_2m", schedule="karras"), CARD)
    assert Recipe.from_json(recipe.canonical_json()).schedule == "karras"
    assert recipe.to_request().schedule == "karras"


@pytest.mark.parametrize(("name", "key"), [("Karras", "karras"), (" beta ", "beta"), ("sgm_uniform", "trailing"), ("SGM Uniform", "trailing")])
def test_noise_schedules_go_by_key_label_and_other_names(name: str, key: str) -> None:
    assert parse_request({"prompt": "x", "schedule": name}).schedule == key


@pytest.mark.parametrize("value", ["magic", "", 7, ["karras"], True])
def test_a_noise_schedule_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match="Noise schedule") as caught:
        parse_request({"prompt": "x", "schedule": value})
    assert caught.value.field == "schedule"


@pytest.mark.parametrize("scheduler", get_args(SchedulerName))
@pytest.mark.parametrize("schedule", get_args(ScheduleName))
def test_a_pair_runs_or_is_refused_by_the_name_of_the_control(scheduler: SchedulerName, schedule: ScheduleName) -> None:
    request = TextToImage(prompt="x", scheduler=scheduler, schedule=schedule, steps=8)
    if schedule in schedules_of(scheduler):
        assert resolve(request, CARD).schedule == schedule
        return
    with pytest.raises(InvalidRequest, match="Noise schedule") as caught:
        resolve(request, CARD)
    assert caught.value.field == "schedule"
    assert SCHEDULER_LABELS[scheduler] in caught.value.message
    plain = {**json.loads(OLD), "scheduler": scheduler, "schedule": schedule}
    with pytest.raises(DamagedFile):
        Recipe.from_json(json.dumps(plain))


def test_steps_that_a_sampler_or_schedule_cannot_walk_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="Steps") as caught:
        resolve(TextToImage(prompt="x", scheduler="lcm", steps=51), CARD)
    assert caught.value.field == "steps"
    with pytest.raises(InvalidRequest, match="Noise schedule"):
        check_sampling("euler", "karras", 2)
    check_sampling("euler", "trailing", 1)


def test_every_row_says_what_it_is() -> None:
    assert {facts.group for facts in SCHEDULER_FACTS.values()} == set(SCHEDULER_GROUPS)
    assert set(SCHEDULE_LABELS) == set(SCHEDULE_NOTES) == set(get_args(ScheduleName))
    assert len(set(SCHEDULER_LABELS.values())) == len(SCHEDULER_LABELS)
    assert all(facts.note for facts in SCHEDULER_FACTS.values())


@pytest.mark.parametrize(("name", "calls"), [("euler", 20), ("heun", 39), ("kdpm2", 39), ("pndm", 21), ("dpmpp_2s", 20)])
def test_model_calls(name: SchedulerName, calls: int) -> None:
    assert model_calls(name, 20) == calls
    assert model_calls(name, 1) == 1
    assert model_calls(name, 0) == 0
