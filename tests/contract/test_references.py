"""Reference pictures in a request: windows, and every bad value refused in a sentence that says which picture."""

from __future__ import annotations

from typing import Any

import pytest

from engine import InvalidRequest, Recipe, ReferenceUse, parse_request
from engine.contract.references import without_nothing

PICTURE = "a" * 64


@pytest.mark.parametrize(
    ("references", "words"),
    [
        ([{"image": PICTURE}] * 5, "That would be more than 4 reference pictures. Use at most 4."),
        ("mood.png", "Reference pictures cannot be 'mood.png'."),
        ([PICTURE], "There is no picture in reference picture 1."),
        ([{}], "There is no picture in reference picture 1."),
        ([{"image": "../../etc/passwd"}], "The image of reference picture 1 cannot be '../../etc/passwd'. Choose the picture again."),
        ([{"image": PICTURE}, {"image": PICTURE, "weight": 2.5}], "The weight of reference picture 2 cannot be 2.5. Choose a number from 0 to 2."),
        ([{"image": PICTURE, "weight": "nan"}], "The weight of reference picture 1 cannot be 'nan'."),
        ([{"image": PICTURE, "weight": True}], "The weight of reference picture 1 cannot be True."),
        ([{"image": PICTURE, "start": -0.1}], "The start of reference picture 1 cannot be -0.1."),
        ([{"image": PICTURE, "start": 0.8, "end": 0.2}], "The window of reference picture 1 ends before it starts."),
        ([{"image": PICTURE, "style_only": "perhaps"}], "The style only of reference picture 1 cannot be 'perhaps'. Choose yes or no."),
        ([{"image": PICTURE, "adapter": "../x"}], "The adapter of reference picture 1 cannot be '../x'."),
        ([{"image": PICTURE, "wait": 1}], "A reference picture has nothing named 'wait'."),
    ],
)
def test_a_bad_reference_is_one_sentence(references: Any, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_request({"prompt": "a castle", "references": references})
    assert str(caught.value).startswith(words)
    assert caught.value.field == "references"


@pytest.mark.parametrize("mode", ["txt2img", "img2img", "inpaint", "upscale"])
def test_every_mode_takes_references(mode: str) -> None:
    values: dict[str, Any] = {"mode": mode, "prompt": "x", "references": [{"image": PICTURE, "weight": "0.8", "end": 0.5}]}
    values |= {} if mode == "txt2img" else {"source": "b" * 64}
    values |= {"expand_left": 8} if mode == "inpaint" else {}
    assert parse_request(values).references == (ReferenceUse(image=PICTURE, weight=0.8, end=0.5),)


def test_a_window_counts_as_a_control_of_diffusers_does() -> None:
    use = ReferenceUse(image=PICTURE, weight=0.5, start=0.2, end=0.6)
    assert [use.weight_at(index, 10) for index in range(10)] == [0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0]
    assert ReferenceUse(image=PICTURE, weight=1.0).weight_at(0, 1) == 1.0


def test_what_comes_to_nothing_is_left_out() -> None:
    kept = ReferenceUse(image=PICTURE)
    assert without_nothing([kept, ReferenceUse(image=PICTURE, weight=0), ReferenceUse(image=PICTURE, start=0.5, end=0.5)]) == (kept,)


def test_a_recipe_keeps_them_and_asks_for_them_again() -> None:
    use = ReferenceUse(image=PICTURE, weight=0.7, adapter="starter", hash="c" * 64, image_encoder="model", style_only=True)
    recipe = Recipe(
        model="tiny", model_hash="", prompt="x", negative_prompt="", steps=3, guidance_scale=4.0, scheduler="ddim", width=64, height=64, seed=5,
        count=1, references=(use,),
    )  # fmt: skip
    assert Recipe.from_json(recipe.canonical_json()) == recipe
    assert recipe.to_request().references == (use,)
    assert recipe.inputs == (PICTURE,)
    assert "references" not in recipe.model_copy(update={"references": None}).canonical_json()
