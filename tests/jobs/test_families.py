"""Through the door: tiny models of every family in `data/models`, all four modes, and what each says of what it cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import Engine, EngineError, IncompatibleAdapter, InvalidRequest, Settings, parse_request
from engine.library.metadata import read_recipe
from tests.conftest import OWNER
from tests.diffusion.families import make_family
from tests.pictures import bring, bring_mask, draw, read, scene

FAMILIES = ("sdxl", "sd3", "flux1", "flux2", "zimage", "qwen")
SMALL = {"width": 64, "height": 96, "steps": 2}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    data: Path = tmp_path_factory.mktemp("data")
    for key in FAMILIES:
        make_family(data / "models" / key, key)
    with Engine(Settings(data=data, worker="inline", dtype="float32", device="cpu")) as running:
        yield running


def test_each_is_found_and_says_what_it_is(engine: Engine) -> None:
    cards = {card.name: card for card in engine.models()}
    assert {key: cards[key].family for key in FAMILIES} == {key: key for key in FAMILIES}
    assert (cards["flux1"].guidance, cards["qwen"].guidance, cards["sdxl"].default_scheduler, cards["sd3"].default_scheduler) == (
        "told",
        "cfg",
        "dpmpp_2m",
        "flow_euler",
    )
    assert all(card.default_size in card.sizes for card in cards.values())


@pytest.mark.parametrize("model", FAMILIES)
def test_all_four_modes(engine: Engine, model: str) -> None:
    made = draw(engine, "txt2img", model=model, prompt="a (red:1.3) castle [at sunset|in fog]", **SMALL)[0]
    assert read(made).shape == (96, 64, 3)
    recipe = read_recipe(made.path)
    assert recipe.to_request().model == model
    assert recipe.guidance_kind == ("told" if model == "flux1" else None)
    source = bring(engine, scene(80, 112))
    assert read(draw(engine, "img2img", model=model, source=source, strength=0.6, **SMALL)[0]).shape == (96, 64, 3)
    mask = bring_mask(engine, source, (20, 30, 60, 70), (80, 112))
    painted = draw(engine, "inpaint", model=model, source=source, mask=mask, strength=0.8, region="masked", **SMALL)[0]
    assert read(painted).shape == (112, 80, 3)
    larger = draw(engine, "upscale", model=model, source=source, factor=2, strength=0.5, **{**SMALL, "height": 64})[0]
    assert read(larger).shape == (224, 160, 3)


@pytest.mark.parametrize(
    ("model", "values", "field", "said"),
    [
        ("flux1", {"loras": [{"name": "ink"}]}, "loras", "was made for the starter, not for flux1"),
        ("sd3", {"scheduler": "dpmpp_2m"}, "scheduler", "does not run on"),
        ("sdxl", {"scheduler": "flow_euler"}, "scheduler", "does not run on"),
        ("qwen", {"seamless": "x"}, "seamless", "no convolutions"),
        ("flux1", {"guidance_style": "apg"}, "guidance_style", "does not run on"),
        ("zimage", {"guidance_style": "pag"}, "guidance_style", "does not run on"),
        ("flux2", {"width": 72}, "width", "in steps of 16"),
        ("sdxl", {"score_guidance": "clip"}, "score_guidance", "no scorer"),
    ],
)
def test_what_a_family_cannot_do_is_said_before_anything_runs(engine: Engine, model: str, values: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(EngineError, match=said) as caught:
        engine.submit(parse_request({"prompt": "a castle", "model": model, **SMALL, **values}), OWNER)
    assert caught.value.field == field
    assert isinstance(caught.value, InvalidRequest | IncompatibleAdapter)


@pytest.mark.parametrize("model", FAMILIES)
def test_the_counter_reads_every_tokenizer(engine: Engine, model: str) -> None:
    counted = engine.words("a red castle at sunset", model)
    assert counted[0].tokens > 4
    assert counted[0].chunks == 1


@pytest.mark.parametrize(("model", "says"), [("sdxl", False), ("flux1", True), ("qwen", True)])
def test_weights_that_are_not_read_are_said_while_writing(engine: Engine, model: str, says: bool) -> None:
    said = [remark.message for remark in engine.remarks("a (red:1.4) castle", model=model)]
    assert any("weights in brackets are left out" in text for text in said) is says
    assert not any("left out" in remark.message for remark in engine.remarks("a red castle", model=model))


def test_a_folder_of_an_unknown_family_takes_no_other_away(engine: Engine) -> None:
    odd = engine.settings.data / "models" / "odd"
    odd.mkdir()
    (odd / "model_index.json").write_text('{"_class_name": "SomethingNewPipeline"}')
    assert {card.name: card.refusal is None for card in engine.models()}["odd"] is False
    with pytest.raises(EngineError, match="cannot be used"):
        engine.submit(parse_request({"prompt": "a castle", "model": "odd"}), OWNER)
