"""Editing by a sentence in a request: what it takes, what it refuses and at which control, and the size that it is drawn at."""

from __future__ import annotations

from typing import Any

import pytest

from engine import Edit, InvalidRequest, ModelCard, Recipe, cannot_edit, parse_request, pictures_taken
from engine.contract.editing import EDITING_MODELS, EDITORS, Size, editor_name, plan_edit
from engine.contract.families import family_of
from engine.contract.recipe import resolve

PICTURE, OTHER = "a" * 64, "b" * 64


def card(editor: str = "Flux2KleinPipeline", title: str = "klein") -> ModelCard:
    return ModelCard(
        name="klein", title=title, family="flux2", content_hash="0", bytes_on_disk=1, default_size=(1024, 1024), sizes=((1024, 1024),),
        default_steps=4, default_guidance=1.0, default_scheduler="flow_euler", editor=editor,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"prompt": " "}, "prompt", "The prompt is empty. Say what to change, for example “make it night”."),
        ({"source": None}, "source", "Source picture cannot be None."),
        ({"mask": OTHER}, "mask", "Mask has no meaning in an edit: the sentence says what changes. Leave it out, or choose Repaint or Inpaint."),
        ({"strength": 0.5}, "strength", "Strength has no meaning in an edit"),
        ({"fit": "crop"}, "fit", "Fit has no meaning in an edit"),
        ({"expand_left": 64}, "expand_left", "Grow left has no meaning in an edit"),
        ({"magic": 1}, "magic", "There is no control named 'magic'."),
        ({"pictures": [OTHER] * 4}, "pictures", "An edit looks at 4 pictures at most, the source included."),
        ({"pictures": ["../../etc/passwd"]}, "pictures", "More pictures cannot be '../../etc/passwd'. Choose the picture again."),
        ({"pictures": "x"}, "pictures", "More pictures cannot be 'x'."),
    ],
)
def test_bad_input_is_one_sentence_at_its_control(values: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_request({"mode": "edit", "prompt": "make it night", "source": PICTURE, **values})
    assert str(caught.value).startswith(words)
    assert caught.value.field == field


def test_without_a_source_there_is_nothing_to_edit() -> None:
    with pytest.raises(InvalidRequest, match=r"There is no source picture\.") as caught:
        parse_request({"mode": "edit", "prompt": "make it night"})
    assert caught.value.field == "source"


@pytest.mark.parametrize(
    ("editor", "sizes", "field", "words"),
    [
        ("", [(512, 512)], "how", f"klein repaints; editing by a sentence needs {EDITING_MODELS}. Choose Repaint, or one of these models."),
        ("SomethingElse", [(512, 512)], "how", "klein repaints"),
        ("FluxKontextPipeline", [(512, 512)] * 2, "pictures", "klein looks at only the source, not at 2 pictures. Remove one of them."),
        ("QwenImageEditPlusPipeline", [(512, 512)] * 4, "pictures", "klein looks at the source and 2 more pictures, not at 4 pictures."),
        ("Flux2KleinPipeline", [(512, 40)], "source", "The source picture is 512 × 40: no model can edit that."),
        ("Flux2KleinPipeline", [(512, 512), (2000, 100)], "pictures", "Picture 2 is 2000 × 100: no model can edit that."),
    ],
)
def test_what_a_model_cannot_take_is_said_before_anything_runs(editor: str, sizes: list[Size], field: str, words: str) -> None:
    request = parse_request({"mode": "edit", "prompt": "make it night", "source": PICTURE, "pictures": [OTHER] * (len(sizes) - 1)})
    with pytest.raises(InvalidRequest) as caught:
        resolve(request, card(editor), sizes=sizes)
    assert str(caught.value).startswith(words)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("editor", "source", "drawn"),
    [
        ("FluxKontextPipeline", (1920, 1080), (1392, 752)),
        ("QwenImageEditPipeline", (1920, 1080), (1376, 768)),
        ("Flux2KleinPipeline", (1920, 1080), (1360, 768)),
        ("Flux2KleinPipeline", (100, 70), (96, 64)),
        # No edge is longer than any request may ask for.
        ("Flux2KleinPipeline", (4000, 500), (2048, 256)),
        ("QwenImageEditPlusPipeline", (4000, 500), (2048, 240)),
    ],
)
def test_an_edit_has_the_shape_of_its_source(editor: str, source: Size, drawn: Size) -> None:
    assert plan_edit(card(editor), [source]) == drawn
    recipe = resolve(parse_request({"mode": "edit", "prompt": "make it night", "source": PICTURE}), card(editor), sizes=[source])
    assert (recipe.width, recipe.height, recipe.strength, recipe.fit, recipe.pictures) == (*drawn, None, None, None)
    asked = parse_request({"mode": "edit", "prompt": "make it night", "source": PICTURE, "width": 512, "height": 256})
    assert (resolve(asked, card(editor), sizes=[source]).width, resolve(asked, card(editor), sizes=[source]).height) == (512, 256)


def test_a_recipe_keeps_its_pictures_in_order_and_asks_for_them_again() -> None:
    request = parse_request(
        {"mode": "edit", "prompt": "the hat of picture 2", "source": PICTURE, "pictures": [OTHER, PICTURE], "seed": 3, "steps": 4}
    )
    recipe = resolve(request, card(), sizes=[(512, 512)] * 3)
    assert recipe.inputs == (PICTURE, OTHER, PICTURE)
    # Every step is walked: there is no strength that would leave some out.
    assert recipe.steps_run == 4
    again = Recipe.from_json(recipe.canonical_json()).to_request()
    assert isinstance(again, Edit)
    assert (again.pictures, again.prompt, again.source) == ((OTHER, PICTURE), request.prompt, PICTURE)
    assert '"strength"' not in recipe.canonical_json()


def test_a_folder_says_by_its_pipeline_that_it_edits() -> None:
    assert {name: (editor_name({"_class_name": name, "processor": ["transformers", "Qwen2VLProcessor"]}), editor.pictures) for name, editor in EDITORS.items()} == {
        "FluxKontextPipeline": ("FluxKontextPipeline", 1), "QwenImageEditPipeline": ("QwenImageEditPipeline", 1),
        "QwenImageEditPlusPipeline": ("QwenImageEditPlusPipeline", 3), "Flux2KleinPipeline": ("Flux2KleinPipeline", 4),
    }  # fmt: skip
    assert all(family_of({"_class_name": name}) for name in EDITORS)
    # What puts pictures before its encoder is missing.
    assert editor_name({"_class_name": "QwenImageEditPipeline"}) == ""
    assert editor_name({"_class_name": "FluxPipeline"}) == ""
    assert (pictures_taken(card()), pictures_taken(card(""))) == (4, 0)
    assert cannot_edit("The starter") == "The starter repaints; editing by a sentence needs FLUX.1 Kontext, Qwen-Image-Edit or FLUX.2 klein."
