"""Through the door: tiny models that edit, put into `data/models`; what an edit records, how it pauses, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import Engine, EngineError, Finished, InvalidRequest, Paused, Progress, Settings, parse_request
from engine.library.metadata import read_recipe
from tests.conftest import OWNER, events_of
from tests.diffusion.families import make_family
from tests.pictures import bring, distance, draw, read, scene

# Name of the folder → family, pipeline, and how many pictures it looks at.
EDITORS = {
    "kontext": ("flux1", "edit", 1),
    "klein": ("flux2", "edit", 4),
    "qwen-edit": ("qwen", "edit", 1),
    "qwen-edit-plus": ("qwen", "edit plus", 3),
}
SMALL: dict[str, Any] = {"width": 64, "height": 96, "steps": 2}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    data: Path = tmp_path_factory.mktemp("data")
    for name, (key, pipeline, _) in EDITORS.items():
        make_family(data / "models" / name, key, made_for=pipeline)
    make_family(data / "models" / "plain", "flux1")
    with Engine(Settings(data=data, worker="inline", dtype="float32", device="cpu")) as running:
        yield running


def test_the_cards_say_who_edits(engine: Engine) -> None:
    cards = {card.name: card for card in engine.models()}
    assert [name for name, card in cards.items() if card.editor] == sorted(EDITORS)
    assert {name: (cards[name].family, cards[name].refusal) for name in EDITORS} == {name: (key, None) for name, (key, _, _) in EDITORS.items()}
    assert (cards["kontext"].default_guidance, cards["plain"].default_guidance) == (2.5, 3.5)


# Those of Qwen-Image-Edit look at a megapixel each, whatever they draw.
@pytest.mark.parametrize("model", ["kontext", "klein", "qwen-edit"])
def test_an_edit_is_drawn_and_its_file_makes_it_again(engine: Engine, model: str) -> None:
    source = bring(engine, scene(80, 112))
    made = draw(engine, "edit", model=model, source=source, prompt="make it night", **{**SMALL, "steps": 1})[0]
    assert read(made).shape == (96, 64, 3)
    recipe = read_recipe(made.path)
    assert (recipe.mode, recipe.source, recipe.pictures, recipe.strength) == ("edit", source, None, None)
    assert recipe.to_request() == parse_request({**recipe.to_request().model_dump(), "mode": "edit"})


def test_pictures_come_in_order_and_their_settings_are_read_back(engine: Engine) -> None:
    source, hat, tree = (bring(engine, scene(size, 72, number=number)) for number, size in enumerate((64, 96, 80)))
    values = {"model": "klein", "source": source, "prompt": "the tree of picture 3 with the hat of picture 2", "steps": 2}
    made = draw(engine, "edit", pictures=[hat, tree], **values, width=64, height=64)[0]
    changed = draw(engine, "edit", pictures=[tree, hat], **values, width=64, height=64)[0]
    assert distance(read(made), read(changed)) > 0
    found = engine.read_settings(made.path.read_bytes(), OWNER)
    assert (found.values["mode"], found.values["pictures"], found.missing) == ("edit", [hat, tree], ())
    again = engine.submit(parse_request(found.values), OWNER)
    ending = events_of(engine, again.id)[-1]
    assert isinstance(ending, Finished)
    assert (read(ending.pictures[0]) == read(made)).all()
    # For somebody else the pictures are not here: said one by one, and left out.
    stranger = engine.read_settings(made.path.read_bytes(), "visitor-other")
    assert [one.kind for one in stranger.missing] == ["source", "picture", "picture"]
    assert stranger.values["pictures"] == []


def test_without_a_size_it_has_the_shape_of_its_source(engine: Engine) -> None:
    source = bring(engine, scene(150, 90))
    made = engine.submit(parse_request({"mode": "edit", "model": "klein", "prompt": "make it night", "source": source, "steps": 1}), OWNER)
    ending = events_of(engine, made.id)[-1]
    assert isinstance(ending, Finished), ending
    assert read(ending.pictures[0]).shape == (80, 144, 3)


def test_an_edit_is_paused_and_goes_on_bit_for_bit(engine: Engine) -> None:
    source = bring(engine, scene(96, 64))
    request = parse_request(
        {"mode": "edit", "model": "klein", "prompt": "make it night", "source": source, "steps": 30, "width": 64, "height": 64, "seed": 5}
    )
    whole = events_of(engine, engine.submit(request, OWNER).id)[-1]
    assert isinstance(whole, Finished)
    job, seen = engine.submit(request, OWNER), list[Progress]()
    with engine.watch(job.id, owner=OWNER) as watch:
        for event in watch:
            if isinstance(event, Progress):
                seen.append(event)
                engine.pause(job.id, OWNER)
            if isinstance(event, Paused):
                break
        else:
            raise AssertionError("the job ended before it was paused")
    assert any(one.preview for one in seen)
    assert engine.resume(job.id, OWNER)
    ending = events_of(engine, job.id)[-1]
    assert isinstance(ending, Finished)
    assert (read(ending.pictures[0]) == read(whole.pictures[0])).all()


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"model": None}, "how", "repaints; editing by a sentence needs FLUX.1 Kontext, Qwen-Image-Edit or FLUX.2 klein"),
        ({"model": "plain"}, "how", "plain repaints"),
        ({"model": "kontext", "pictures": 1}, "pictures", "kontext looks at only the source, not at 2 pictures"),
        ({"model": "qwen-edit-plus", "pictures": 3}, "pictures", "at the source and 2 more pictures, not at 4"),
        ({"mask": "0" * 64}, "mask", "Mask has no meaning in an edit"),
        ({"prompt": ""}, "prompt", "Say what to change"),
        ({"source": "0" * 64}, "source", "not here any more"),
        ({"pictures": ["0" * 64]}, "pictures", "not here any more"),
        ({"width": 72}, "width", "in steps of 16"),
        ({"scheduler": "dpmpp_2m"}, "scheduler", "does not run on"),
    ],
)
def test_what_cannot_be_edited_is_said_before_anything_runs(engine: Engine, values: dict[str, Any], field: str, said: str) -> None:
    source = bring(engine, scene())
    asked = {"mode": "edit", "model": "klein", "prompt": "make it night", "source": source, **SMALL, **values}
    if isinstance(asked.get("pictures"), int):
        asked["pictures"] = [source] * asked["pictures"]
    before = len(engine.jobs(OWNER))
    with pytest.raises(EngineError, match=said) as caught:
        engine.submit(parse_request(asked), OWNER)
    assert caught.value.field == field
    assert isinstance(caught.value, InvalidRequest) or field in ("source", "pictures")
    assert len(engine.jobs(OWNER)) == before


def test_a_strangers_picture_cannot_be_looked_at(engine: Engine) -> None:
    source, theirs = bring(engine, scene()), bring(engine, scene(number=3), "visitor-other")
    with pytest.raises(EngineError, match="not here") as caught:
        engine.submit(
            parse_request({"mode": "edit", "model": "klein", "prompt": "make it night", "source": source, "pictures": [theirs], **SMALL}), OWNER
        )
    assert caught.value.field == "pictures"


def test_a_price_is_known_before_it_is_asked_for(engine: Engine) -> None:
    source = bring(engine, scene())
    request = parse_request({"mode": "edit", "model": "klein", "prompt": "make it night", "source": source, **SMALL})
    draw(engine, "edit", model="klein", source=source, **SMALL)
    assert (engine.estimate(request, OWNER).seconds or 0) > 0
