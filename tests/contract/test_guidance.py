"""Guidance in requests and recipes: what it is called, what goes together, what it costs, and that nothing old has changed."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from engine import (
    GUIDANCE_FACTS,
    GUIDANCE_LABELS,
    GuidanceStyle,
    InvalidRequest,
    Recipe,
    TextToImage,
    negative_prompt_reason,
    parse_request,
    styles_of,
)
from engine.contract.guidance import GuidancePlan, parse_target
from engine.contract.recipe import resolve
from engine.contract.schedulers import model_calls
from engine.jobs.estimates import work
from tests.contract.test_recipe import CARD
from tests.contract.test_schedulers import OLD


def test_plain_guidance_leaves_recipes_as_they_were() -> None:
    said = TextToImage(prompt="x", guidance_style="cfg", guidance_rescale=0, guidance_start=0, guidance_end=1, perturbed_scale=5, score_target="y")
    for request in (TextToImage(prompt="x"), said):
        assert resolve(request, CARD).to_plain().keys() == json.loads(OLD).keys()
    assert Recipe.from_json(OLD).canonical_json() == OLD


FULL = {
    "guidance_style": "pag", "guidance_rescale": 0.7, "guidance_start": 0.2, "guidance_end": 0.8, "perturbed_scale": 2.5,
}  # fmt: skip


def test_guidance_is_part_of_the_recipe_and_comes_back() -> None:
    recipe = resolve(TextToImage(prompt="x", **FULL), CARD)
    again = Recipe.from_json(recipe.canonical_json())
    assert {name: getattr(again, name) for name in FULL} == FULL
    assert resolve(again.to_request(), CARD).model_copy(update={"seed": recipe.seed}) == recipe
    assert again.guidance == GuidancePlan(scale=4.0, style="pag", rescale=0.7, start=0.2, end=0.8, perturbed_scale=2.5, steps=20)


def test_a_scale_that_nothing_takes_is_left_out_and_one_that_is_needed_filled_in() -> None:
    assert resolve(TextToImage(prompt="x", guidance_style="apg", perturbed_scale=5), CARD).perturbed_scale is None
    assert resolve(TextToImage(prompt="x", guidance_style="seg"), CARD).perturbed_scale == 3.0
    assert resolve(TextToImage(prompt="x", guidance_style="seg", perturbed_scale=0), CARD).perturbed_scale == 0


@pytest.mark.parametrize(
    ("name", "key"), [("APG", "apg"), ("cfg-zero*", "cfg_zero_star"), (" PAG ", "pag"), ("Tangential CFG", "tangential"), ("TCFG", "tangential")]
)
def test_styles_go_by_key_label_and_other_names(name: str, key: str) -> None:
    assert parse_request({"prompt": "x", "guidance_style": name}).guidance_style == key


@pytest.mark.parametrize(
    ("field", "value", "control"),
    [
        ("guidance_style", "magic", "Guidance style"), ("guidance_style", 1, "Guidance style"), ("guidance_rescale", 1.01, "Guidance rescale"),
        ("guidance_rescale", True, "Guidance rescale"), ("guidance_start", -0.1, "Guidance start"), ("guidance_end", float("nan"), "Guidance end"),
        ("perturbed_scale", 16, "Perturbation"), ("score_guidance", "magic", "Score guidance"), ("score_scale", 1001, "Score scale"),
        ("score_scale", float("inf"), "Score scale"), ("score_target", "x" * 1001, "Score target"), ("score_target", 7, "Score target"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_the_name_of_the_control(field: str, value: object, control: str) -> None:
    with pytest.raises(InvalidRequest, match=control) as caught:
        parse_request({"prompt": "x", field: value})
    assert caught.value.field == field
    assert caught.value.hint


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"guidance_start": 0.8, "guidance_end": 0.2}, "starts at 0.8 of the steps and ends at 0.2"),
        ({"guidance_start": 0.5, "guidance_end": 0.5}, "starts at 0.5"),
        ({"guidance_start": 0.01, "guidance_end": 0.2, "steps": 4}, "holds none of the 4 steps"),
    ],
)
def test_a_window_without_a_step_is_refused(values: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        resolve(TextToImage.model_validate({"prompt": "x", **values}), CARD)
    assert caught.value.field == "guidance_start"


def test_a_style_that_a_family_cannot_do_is_refused() -> None:
    assert styles_of("sd1") == get_args(GuidanceStyle)
    assert styles_of("unheard of") == ()
    with pytest.raises(InvalidRequest, match="PAG does not run on Starter") as caught:
        resolve(TextToImage(prompt="x", guidance_style="pag"), CARD.model_copy(update={"family": "unheard of"}))
    assert caught.value.field == "guidance_style"


@pytest.mark.parametrize(
    ("guidance", "style", "is_heard"),
    [(1.0, "cfg", False), (0.0, "apg", False), (1.01, "cfg", True), (1.0, "pag", False), (4.0, "pag", True), (4.0, "tangential", True)],
)
def test_whether_the_negative_prompt_is_heard(guidance: float, style: GuidanceStyle, is_heard: bool) -> None:
    reason = negative_prompt_reason(guidance, style)
    assert (reason is None) == is_heard
    assert reason is None or (f"Guidance is {guidance:g}" in reason and reason.endswith("."))


@pytest.mark.parametrize(
    ("values", "passes"),
    [
        ({}, 40), ({"guidance_scale": 1}, 20), ({"guidance_style": "pag"}, 60), ({"guidance_style": "pag", "guidance_scale": 1}, 40),
        ({"guidance_style": "apg", "guidance_start": 0.2, "guidance_end": 0.7}, 30), ({"guidance_style": "seg", "guidance_end": 0.5}, 40),
        ({"guidance_style": "pag", "perturbed_scale": 0}, 40), ({"scheduler": "heun"}, 78), ({"scheduler": "heun", "guidance_end": 0.5}, 59),
        ({"scheduler": "pndm", "guidance_style": "seg", "guidance_start": 0.5}, 41),
    ],
)  # fmt: skip
def test_the_cost_follows_style_and_window(values: dict[str, object], passes: int) -> None:
    recipe = resolve(TextToImage.model_validate({"prompt": "x", "steps": 20, **values}), CARD)
    assert recipe.guidance.count_passes(model_calls(recipe.scheduler, 20)) == passes
    assert work(recipe) == pytest.approx(passes * recipe.width * recipe.height / 1e6)


def test_every_row_says_what_it_is() -> None:
    assert list(GUIDANCE_FACTS) == list(get_args(GuidanceStyle))
    assert len(set(GUIDANCE_LABELS.values())) == len(GUIDANCE_LABELS)
    assert all(facts.note for facts in GUIDANCE_FACTS.values())
    assert all(facts.calls == 3 if facts.needs_attention else facts.calls == 2 for facts in GUIDANCE_FACTS.values())


def test_targets_of_a_score() -> None:
    assert parse_target("clip", "  a red castle ") == ("a red castle", ())
    assert parse_target("classifier", "castle | tower, ship,, tower") == ("castle", ("tower", "ship"))
    for text in ("", "castle", "castle |", "| tower", "castle | ,", "castle | ship, castle"):
        with pytest.raises(InvalidRequest) as caught:
            parse_target("classifier", text)
        assert caught.value.field == "score_target"
        assert caught.value.hint
