"""The recipe is complete, canonical, and comes back from its text as it went."""

from __future__ import annotations

import hashlib

import pytest

from engine import DamagedFile, ModelCard, Recipe, TextToImage
from engine.contract.recipe import resolve

CARD = ModelCard(
    name="starter",
    title="Starter",
    family="sd1",
    content_hash="ab" * 32,
    bytes_on_disk=1,
    default_size=(256, 192),
    sizes=((256, 192),),
    default_steps=20,
    default_guidance=4.0,
)


def test_open_choices_are_filled_from_the_model() -> None:
    recipe = resolve(TextToImage(prompt="x"), CARD)
    assert (recipe.width, recipe.height, recipe.steps, recipe.guidance_scale) == (256, 192, 20, 4.0)
    assert recipe.model_hash == CARD.content_hash


def test_zero_is_a_choice() -> None:
    recipe = resolve(TextToImage(prompt="x", seed=0, guidance_scale=0), CARD)
    assert (recipe.seed, recipe.guidance_scale) == (0, 0)


def test_an_open_seed_is_another_each_time() -> None:
    assert len({resolve(TextToImage(prompt="x"), CARD).seed for _ in range(20)}) > 15


@pytest.mark.parametrize("prompt", ['"quoted"\nnew line', "🏰: a\\b", "a\u2028b", "{}[]<>,"])
def test_text_round_trip(prompt: str) -> None:
    recipe = resolve(TextToImage(prompt=prompt, negative_prompt=prompt, count=3), CARD)
    again = Recipe.from_json(recipe.canonical_json())
    assert again == recipe
    assert again.digest() == recipe.digest()


def test_a_picture_of_a_batch_has_its_own_recipe() -> None:
    recipe = resolve(TextToImage(prompt="x", seed=2**32 - 1, count=3), CARD)
    assert [recipe.for_picture(k).seed for k in range(3)] == [2**32 - 1, 0, 1]
    assert recipe.for_picture(2).count == 1


# As the first pictures carry it, to the byte.
OLD = (
    '{"count":1,"guidance_scale":4.0,"height":192,"mode":"txt2img","model":"starter","model_hash":"' + "ab" * 32 + '","negative_prompt":"",'
    '"prompt":"a tower","scheduler":"dpmpp_2m","seed":7,"steps":20,"version":1,"width":256}'
)


def test_how_weights_lay_is_said_where_they_were_made_smaller_and_asks_for_nothing() -> None:
    recipe = Recipe.from_json(OLD)
    assert recipe.packing is None
    assert recipe.canonical_json() == OLD
    assert recipe.digest() == hashlib.sha256(OLD.encode()).hexdigest()
    packed = recipe.model_copy(update={"packing": "int8"})
    assert Recipe.from_json(packed.canonical_json()) == packed != recipe
    assert packed.to_request() == recipe.to_request()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"version":2}', "x" * 100])
def test_what_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(DamagedFile):
        Recipe.from_json(text)
