"""LoRA tags that words left to chance bring: read once the words are filled in, shared by every picture of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from engine.contract.adapters import LoraUse
from engine.contract.errors import InvalidRequest
from engine.contract.recipe import Recipe, resolve
from engine.contract.requests import TextToImage
from tests.contract.test_wildcards import CARD

LISTS = {"look": ["ink wash <lora:ink:0.5>"], "either": ["<lora:ink:0.5> in ink", "<lora:neon:1> in neon"], "some": ["<lora:ink>", "plain"]}


def lines(name: str, control: str) -> Sequence[str]:
    if name not in LISTS:
        raise InvalidRequest(f"There is no wildcard list named {name} here.", "", control)
    return LISTS[name]


def found(uses: tuple[LoraUse, ...]) -> tuple[LoraUse, ...]:
    return tuple(use.model_copy(update={"hash": use.name * 2}) for use in uses)


def recipe_of(prompt: str, **fields: object) -> Recipe:
    request = TextToImage.model_validate({"prompt": prompt, "seed": 5, **fields})
    return resolve(request, CARD, find_loras=found, lists=lines)


def weights(recipe: Recipe) -> dict[str, float]:
    return {use.name: use.weight for use in recipe.loras or ()}


def test_a_tag_in_a_list_is_honoured_and_no_part_of_the_words() -> None:
    recipe = recipe_of("a castle, __look__", loras=[{"name": "ink", "weight": 0.25}])
    assert recipe.prompt == "a castle, ink wash"
    assert recipe.prompt_template == "a castle, __look__"
    assert weights(recipe) == {"ink": 0.75}
    assert recipe.loras is not None
    assert recipe.loras[0].hash == "inkink"


def test_only_the_chosen_option_counts() -> None:
    seen = {tuple(weights(recipe_of("a {<lora:ink:1>|<lora:neon:1>} castle", seed=seed))) for seed in range(12)}
    assert seen == {("ink",), ("neon",)}


def test_a_batch_shares_one_set_of_adapters_and_is_made_again() -> None:
    recipe = recipe_of("a {red|blue|green} castle <lora:neon:0.5>, __look__", count=4, loras=[{"name": "neon", "weight": 0.1}])
    assert recipe.prompts is not None
    assert len(set(recipe.prompts)) > 1
    assert all("lora" not in words for words in recipe.prompts)
    assert weights(recipe) == {"neon": 0.6, "ink": 0.5}
    assert Recipe.from_json(recipe.canonical_json()) == recipe
    assert resolve(recipe.to_request(), CARD, find_loras=found, lists=lines) == recipe
    for number in range(4):
        alone = recipe.for_picture(number)
        asked = {"count": 1, "seed": alone.seed, "loras": [{"name": "neon", "weight": 0.1}]}
        assert recipe_of("a {red|blue|green} castle <lora:neon:0.5>, __look__", **asked) == alone
        assert weights(resolve(alone.to_request(), CARD, find_loras=found, lists=lines)) == weights(recipe)


@pytest.mark.parametrize("prompt", ["a castle __either__", "a castle __some__", "a {<lora:ink:1>|<lora:ink:0.5>} castle"])
def test_pictures_of_one_batch_that_ask_for_different_ones_are_refused(prompt: str) -> None:
    with pytest.raises(InvalidRequest, match="different LoRAs for the pictures of one batch") as caught:
        recipe_of(prompt, count=16)
    assert caught.value.field == "prompt"
    recipe_of(prompt, count=1)
    # One seed, one set of words: the pictures of a variation cannot differ.
    recipe_of(prompt, count=16, variation_strength=0.2, variation_seed=1)


def test_underscores_in_a_name_are_no_list() -> None:
    assert weights(recipe_of("a castle <lora:my__own__style:0.5>")) == {"my__own__style": 0.5}
    with pytest.raises(InvalidRequest, match="no wildcard list named nowhere"):
        recipe_of("a castle <lora: __nowhere__")
