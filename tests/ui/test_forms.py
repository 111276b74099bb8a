"""Forms to requests and back, and events to what the stage shows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine import Cancelled, EngineError, Failed, Finished, Loading, OutOfMemory, Picture, Progress, Queued, Recipe, parse_request
from ui.forms import FIELDS, from_recipe, nearest_size, parse_size, request_mode, size_label, tab_of, to_request_values
from ui.links import judge, picture_view, sign
from ui.messages import place_in_line, seconds
from ui.stream import stage_view

SIZES = ["256 × 256", "384 × 256"]
RECIPE = Recipe(
    model="starter",
    model_hash="0",
    prompt="a castle",
    negative_prompt="blurry",
    steps=12,
    guidance_scale=3.5,
    scheduler="heun",
    width=384,
    height=256,
    seed=0,
    count=1,
)
RECIPES = (
    RECIPE,
    RECIPE.model_copy(update={"width": 200, "height": 72, "seed": 2**32 - 1}),
    RECIPE.model_copy(update={"variation_seed": 5, "variation_strength": 0.25, "seamless": "xy"}),
    RECIPE.model_copy(update={"mode": "img2img", "source": "0" * 64, "strength": 0.35, "fit": "pad"}),
    RECIPE.model_copy(update={"mode": "edit", "source": "0" * 64}),
    RECIPE.model_copy(
        update={
            "mode": "inpaint", "source": "0" * 64, "mask": "1" * 64, "strength": 0.8, "region": "whole", "padding": 64, "feather": 3.0,
            "is_soft": True, "fill": "noise", "expand_left": 64, "expand_top": 0, "expand_right": 0, "expand_bottom": 0,
        }
    ),
    RECIPE.model_copy(update={"mode": "upscale", "source": "0" * 64, "strength": 0.2, "factor": 4, "upscaler": "latent", "upscaler_hash": "1", "overlap": 32}),
)  # fmt: skip
SECRET = b"s" * 32


def test_nearest_size_has_the_shape_of_the_picture() -> None:
    assert nearest_size(640, 480, SIZES) == "384 × 256"
    assert nearest_size(500, 480, SIZES) == "256 × 256"


def test_controls_of_other_tabs_stay_out_of_a_request() -> None:
    form = {"prompt": "x", "strength": 0.5, "fit": "pad", "upscale_strength": 0.2, "factor": "4", "feather": 3, "seamless": "x"}
    assert to_request_values(form) == {"prompt": "x", "seamless": "x"}
    assert to_request_values(form, "upscale") == {"mode": "upscale", "prompt": "x", "strength": 0.2, "factor": "4"}


def test_a_recipe_goes_into_the_form_and_comes_back() -> None:
    for recipe in RECIPES:
        form = from_recipe(recipe, SIZES)
        assert set(form) <= set(FIELDS)
        pictures = {name: value for name in ("source", "mask", "expand_left") if (value := getattr(recipe, name)) is not None}
        request = parse_request({**to_request_values(form, recipe.mode), **pictures})
        assert request == recipe.to_request()


def test_the_image_tab_repaints_or_edits() -> None:
    form = {
        "prompt": "x",
        "how": "edit",
        "strength": 0.5,
        "fit": "pad",
        "size": "384 × 256",
        "pictures": [{"hash": "1" * 64, "url": "/inputs/1.png"}],
    }
    assert [request_mode(tab, form) for tab in ("img2img", "txt2img", "inpaint", "controlnet")] == ["edit", "txt2img", "inpaint", "txt2img"]
    assert request_mode("img2img", {**form, "how": "repaint"}) == "img2img"
    # Neither strength nor size: the sentence says what changes, and the source has a shape.
    assert to_request_values(form, "edit") == {"mode": "edit", "prompt": "x", "pictures": ["1" * 64]}
    assert to_request_values({**form, "width": "512"}, "edit")["width"] == "512"
    # Whatever a browser sends is for the contract to judge.
    assert to_request_values({**form, "pictures": 7}, "edit")["pictures"] == 7
    assert to_request_values(form, "img2img")["strength"] == 0.5
    edited = RECIPE.model_copy(update={"mode": "edit", "source": "0" * 64})
    assert (tab_of(edited), from_recipe(edited, SIZES)["how"]) == ("img2img", "edit")
    assert from_recipe(RECIPES[3], SIZES)["how"] == "repaint"
    assert "how" not in from_recipe(RECIPE, SIZES)


def test_an_unkept_seed_is_left_open() -> None:
    form = {**from_recipe(RECIPE, SIZES), "is_seed_kept": False}
    assert "seed" not in to_request_values(form)


def test_own_sizes_win_over_presets() -> None:
    values = to_request_values({**from_recipe(RECIPE, SIZES), "width": "128"})
    assert (values["width"], values["height"]) == ("128", "256")


@pytest.mark.parametrize("label", [None, "", "256", 7, "a × b × c"])
def test_a_size_that_is_none(label: object) -> None:
    assert parse_size(label) is None


def test_size_labels_are_inverse() -> None:
    assert parse_size(size_label(64, 96)) == ("64", "96")


SEEN = RECIPE.model_copy(update={"mode": "img2img", "source": "0" * 64, "strength": 0.5, "fit": "pad"})
PICTURE = Picture(
    id="p",
    job_id="j",
    index=0,
    path=Path("p.png"),
    width=384,
    height=256,
    seed=0,
    seconds=1.1,
    recipe=SEEN,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("event", "kind", "words"),
    [
        (Queued("j", 2, 8.0), "waiting", "Number 2 in line · starts in ≈ 8 s"),
        (Loading("j", "Loading starter"), "loading", "Loading starter"),
        (Progress("j", 0, 1, 3, 20, b"x", 1.6), "drawing", "Step 3 of 20 · ≈ 2 s left"),
        (Progress("j", 1, 4, 3, 20, None), "drawing", "Picture 2 of 4 · step 3 of 20"),
        (Finished("j", (), 1.24), "done", "0 pictures in 1.2 s"),
        (Finished("j", (PICTURE,), 1.24), "done", "Done"),
        (Cancelled("j", 5, ()), "stopped", "Stopped after step 5"),
        (Cancelled("j", 0, ()), "stopped", "Stopped before it began"),
        (Failed("j", OutOfMemory("Too large.", "Try smaller.", "width")), "failed", "Too large."),
    ],
)
def test_every_event_has_its_state_and_words(event: object, kind: str, words: str) -> None:
    view = stage_view(event, SECRET, RECIPE)  # type: ignore[arg-type]
    assert view is not None
    assert (view["kind"], view["text"]) == (kind, words)


def test_more_than_one_picture_are_all_there_to_choose_from() -> None:
    one, more = (stage_view(Finished("j", (PICTURE,) * count, 2.0), SECRET, RECIPE) for count in (1, 2))
    assert one is not None
    assert more is not None
    assert "pictures" not in one
    assert [view["id"] for view in more["pictures"]] == ["p", "p"]


def test_a_picture_says_how_many_steps_were_walked() -> None:
    assert picture_view(PICTURE, SECRET)["steps"] == 6


def test_a_failure_names_hint_and_control() -> None:
    view = stage_view(Failed("j", EngineError("What.", "Next.", "steps")), SECRET, RECIPE)
    assert view is not None
    assert (view["hint"], view["field"]) == ("Next.", "steps")


def test_signatures_fit_one_picture_only() -> None:
    assert judge(SECRET, "abc", sign(SECRET, "abc")) == "good"
    assert judge(SECRET, "abd", sign(SECRET, "abc")) == "wrong"
    assert judge(b"t" * 32, "abc", sign(SECRET, "abc")) == "wrong"
    assert judge(SECRET, "abc", "") == "wrong"


def test_times_in_words() -> None:
    assert [seconds(v) for v in (None, 0.4, 3.2, 89.0, 300.0)] == ["", "< 1 s", "≈ 3 s", "≈ 89 s", "≈ 5 min"]
    assert place_in_line(1, None) == "Next in line"


def test_empty_fields_are_not_chosen() -> None:
    values = to_request_values({"prompt": "x", "negative_prompt": "", "seed": "", "is_seed_kept": True, "width": "", "height": ""})
    assert values == {"prompt": "x", "negative_prompt": ""}
