"""Adapters through the door: in a request or in the words, in the recipe, and gone for the next picture."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import Engine, Finished, IncompatibleAdapter, InvalidRequest, ModelNotFound, TextToImage, parse_request
from engine.library.metadata import parameters_text, read_recipe
from engine.starter.lora import StyleTrainer
from tests.conftest import OWNER, STARTER, events_of
from tests.jobs.test_engine import pixels

Make = Callable[..., TextToImage]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that has taken a few real steps: enough to be seen, quick enough for a test."""
    path = tmp_path_factory.mktemp("loras") / "quick.safetensors"
    trainer = StyleTrainer(STARTER, "neon", pictures=8, seed=1)
    trainer.train(6, rate=5e-3)
    trainer.save(path)
    return path


@pytest.fixture
def rack(inline_engine: Engine, file: Path) -> Engine:
    folder = inline_engine.settings.data / "loras"
    folder.mkdir()
    shutil.copy(file, folder / "quick.safetensors")
    return inline_engine


def draw(engine: Engine, request: TextToImage) -> Finished:
    ending = events_of(engine, engine.submit(request, OWNER).id)[-1]
    assert isinstance(ending, Finished), ending
    return ending


def test_an_adapter_changes_the_picture_and_is_gone_afterwards(rack: Engine, request_of: Make) -> None:
    plain = draw(rack, request_of())
    with_it = draw(rack, request_of(loras=[{"name": "quick", "weight": 1.0}]))
    again = draw(rack, request_of())
    assert pixels(with_it.pictures[0].path) != pixels(plain.pictures[0].path)
    assert pixels(again.pictures[0].path) == pixels(plain.pictures[0].path)


def test_a_tag_means_the_same_and_the_recipe_makes_it_again(rack: Engine, request_of: Make) -> None:
    named = draw(rack, request_of(loras=[{"name": "quick", "weight": 0.5}])).pictures[0]
    tagged = draw(rack, request_of(prompt="a red castle at sunset <lora:quick:0.5>")).pictures[0]
    assert pixels(named.path) == pixels(tagged.path)
    recipe = read_recipe(tagged.path)
    assert recipe == named.recipe
    assert recipe.loras is not None
    assert (recipe.loras[0].name, recipe.loras[0].weight, len(recipe.loras[0].hash or "")) == ("quick", 0.5, 64)
    assert parameters_text(recipe).splitlines()[0].endswith("<lora:quick:0.5>")
    assert pixels(draw(rack, recipe.to_request()).pictures[0].path) == pixels(tagged.path)  # type: ignore[arg-type]


def test_weights_of_blocks_are_in_the_recipe(rack: Engine, request_of: Make) -> None:
    whole = draw(rack, request_of(loras=[{"name": "quick", "blocks": {"up": 1}}])).pictures[0]
    part = draw(rack, request_of(loras=[{"name": "quick", "blocks": {"up": 0, "up.1": 0.5}}])).pictures[0]
    assert pixels(whole.path) != pixels(part.path)
    whole_use, part_use = (read_recipe(one.path).loras for one in (whole, part))
    assert whole_use is not None
    assert part_use is not None
    assert (whole_use[0].blocks, part_use[0].blocks) == (None, {"up": 0.0, "up.1": 0.5})
    assert pixels(draw(rack, read_recipe(part.path).to_request()).pictures[0].path) == pixels(part.path)  # type: ignore[arg-type]


def test_cards_are_found_without_a_restart(rack: Engine) -> None:
    card = next(one for one in rack.loras() if one.name == "quick")
    assert (card.trigger, card.made_for, card.refusal) == ("neon lights", "the starter", None)
    folder = rack.settings.data / "loras"
    shutil.copy(folder / "quick.safetensors", folder / "another.safetensors")
    assert "another" in [one.name for one in rack.loras()]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"loras": [{"name": "nothing"}]}, ModelNotFound),
        ({"loras": [{"name": "../quick"}]}, InvalidRequest),
        ({"loras": [{"name": "quick", "weight": 2.5}]}, InvalidRequest),
        ({"loras": [{"name": "quick", "weight": "nan"}]}, InvalidRequest),
        ({"loras": "quick"}, InvalidRequest),
        ({"loras": [{"name": "quick"}] * 9}, InvalidRequest),
        ({"prompt": "a castle <lora:../../etc/passwd:1>"}, InvalidRequest),
        ({"prompt": "a castle <lora:damaged:1>"}, IncompatibleAdapter),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_queued(rack: Engine, values: dict[str, object], kind: type[Exception]) -> None:
    (rack.settings.data / "loras" / "damaged.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense")
    with pytest.raises(kind) as caught:
        rack.submit(parse_request({"prompt": "a castle", **values}), OWNER)
    assert caught.value.field == "loras"  # type: ignore[attr-defined]
    assert rack.jobs(OWNER) == []
