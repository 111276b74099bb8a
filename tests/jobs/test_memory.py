"""Memory through the door: a studio that was told to take little draws what any studio draws, whatever works beside the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Engine, Picture, Settings, parse_request
from engine.contract.memory import MemoryChoice
from engine.diffusion.painter import Painter
from engine.jobs.hosts.inline import InlineHost
from engine.library.metadata import parameters_text, read_recipe
from tests.conftest import OWNER
from tests.faults.figures import Figures
from tests.jobs.test_partial import stop_at
from tests.pictures import bring, draw, read, scene

# Eight bits can hardly be seen; four change what is drawn.
BARS_DB = {"int8": 30, "nf4": 20}
# Everything that changes the model for a run, or works beside it.
WORKS: dict[str, Callable[[str], dict[str, Any]]] = {
    "plain": lambda _picture: {},
    "a LoRA": lambda _picture: {"loras": [{"name": "ink", "weight": 0.8}]},
    "a control": lambda picture: {"controls": [{"image": picture, "preprocessor": "canny", "control": "starter-edges"}]},
    "a reference": lambda picture: {"references": [{"image": picture, "weight": 0.7}]},
    "all of them, twice": lambda picture: {
        "count": 2,
        "prompt": "[a red:a blue:0.5] castle",
        "seamless": "x",
        "loras": [{"name": "ink", "weight": 0.8}],
        "controls": [{"image": picture, "preprocessor": "canny", "control": "starter-edges"}],
        "references": [{"image": picture, "weight": 0.7}],
    },
}


@pytest.fixture(scope="module")
def studios(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Engine]]:
    """One that keeps all of a model in memory, and one that keeps a part at a time."""

    def make(memory: MemoryChoice) -> Engine:
        return Engine(Settings(data=tmp_path_factory.mktemp(memory), worker="inline", dtype="float32", device="cpu", memory=memory))

    with make("automatic") as usual, make("parts") as light:
        yield usual, light


def painter_of(engine: Engine) -> Painter:
    (host,) = engine._hosts
    assert isinstance(host, InlineHost)
    assert host._painter is not None
    return host._painter


def drawn(studio: Engine, work: str) -> list[bytes]:
    return [read(one).tobytes() for one in draw(studio, "txt2img", **WORKS[work](bring(studio, scene())))]


@pytest.mark.parametrize("work", WORKS)
def test_a_light_studio_draws_the_same(studios: tuple[Engine, Engine], work: str) -> None:
    usual, light = (drawn(studio, work) for studio in studios)
    assert light == usual
    for studio, plan in zip(studios, ("whole", "one part at a time"), strict=True):
        (components,) = painter_of(studio)._models.values()
        assert components.stay is not None
        assert components.stay.plan == plan


@pytest.fixture(scope="module", params=["int8", "nf4"])
def quantised(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    data = tmp_path_factory.mktemp("quantised")
    with Engine(Settings(data=data, worker="inline", dtype="float32", device="cpu")) as engine:
        engine.memory.choose(request.param)
        yield engine


@pytest.mark.parametrize("work", WORKS)
def test_a_quantised_studio_draws_nearly_the_same(studios: tuple[Engine, Engine], quantised: Engine, work: str, figure: Figures) -> None:
    """Adapters, references and a control that is made of the model's own weights included; and the same again once all has been let go"""
    packing = quantised.memory.choice
    first = drawn(quantised, work)
    assert first != drawn(studios[0], work)
    for one, other in zip(first, drawn(studios[0], work), strict=True):
        error = np.frombuffer(one, np.uint8).astype(float) - np.frombuffer(other, np.uint8)
        figure(
            f"{work}, {packing}: near the picture of the model as trained", 10 * np.log10(255**2 / np.mean(error**2)), "dB", at_least=BARS_DB[packing]
        )
    painter_of(quantised)._residency.rest_all()
    assert drawn(quantised, work) == first
    (components,) = painter_of(quantised)._models.values()
    assert components.stay is not None
    assert components.stay.packing == packing


def test_a_picture_says_how_the_weights_lay_that_drew_it(studios: tuple[Engine, Engine], quantised: Engine) -> None:
    """In its list, in its file and, where they would lie in another way, to whoever takes its settings."""
    usual, light = studios
    packing = quantised.memory.choice
    plain, moved, packed = (draw(studio, "txt2img")[0] for studio in (usual, light, quantised))
    assert [one.recipe.packing for one in (plain, moved, packed)] == [None, None, packing]
    assert quantised.picture(packed.id).recipe == packed.recipe
    assert read_recipe(packed.path) == packed.recipe
    assert b"packing" not in plain.path.read_bytes()
    # But for that the two are one recipe, and what is asked for is nothing of it.
    assert packed.recipe.model_copy(update={"packing": None}) == plain.recipe
    assert packed.recipe.to_request() == plain.recipe.to_request()
    assert quantised.job(packed.job_id, OWNER).recipe.packing is None

    def remark(studio: Engine, picture: Picture) -> str:
        return studio.read_settings(picture.path.read_bytes(), OWNER).remark

    assert remark(usual, plain) == remark(light, plain) == remark(quantised, packed) == ""
    lay, differs = f"quantised to {8 if packing == 'int8' else 4} bits", "so small things will differ."
    assert remark(usual, packed) == f"This picture was drawn with weights {lay}; here they are as they were trained, {differs}"
    assert remark(quantised, plain) == f"This picture was drawn with weights as they were trained; here they are {lay}, {differs}"
    assert usual.weights_remark(packed.recipe) == remark(usual, packed)
    assert usual.weights_remark(packed.recipe.model_copy(update={"model": "gone"})) == ""


def test_eight_bits_that_nobody_chose_are_said_too(tmp_path: Path) -> None:
    """Where nothing else fits an automatic plan casts to 8 bits by itself; what is kept of a stopped picture says so like a whole one."""
    with Engine(Settings(data=tmp_path, worker="inline", dtype="float32", device="cpu", memory_gb=0.01)) as engine:
        (picture,) = draw(engine, "txt2img")
        assert picture.recipe.packing == "fp8"
        assert "FP8 weight: Enable" in parameters_text(picture.recipe)
        job = engine.submit(parse_request({"mode": "txt2img", "prompt": "a tower", "steps": 100, "width": 64, "height": 64}), OWNER)
        (kept,) = stop_at(engine, job, 3, keep=True).pictures
        assert (kept.recipe.packing, read_recipe(kept.path).packing) == ("fp8", "fp8")


def test_controls_and_image_encoders_are_counted(studios: tuple[Engine, Engine]) -> None:
    usual, light = studios
    painter = painter_of(usual)
    first = drawn(usual, "a control")
    drawn(usual, "a reference")
    names = {name for _, name in painter._residency._held}
    assert {"text_encoder", "unet", "vae", "image encoder"} <= names
    assert any(name.startswith("control ") and "starter-edges" in name for name in names)
    before = painter._residency.bytes_on("device")
    painter._residency.rest_all()
    assert painter._residency.bytes_on("device") == 0
    # The image encoder has nothing to do and is not read again.
    assert drawn(usual, "a control") == drawn(light, "a control") == first
    assert 0 < painter._residency.bytes_on("device") < before


def test_what_the_operator_chooses_counts_from_the_next_picture_on(tmp_path: Path) -> None:
    with Engine(Settings(data=tmp_path, worker="inline", dtype="float32", device="cpu")) as engine:
        first = drawn(engine, "plain")
        painter = painter_of(engine)
        for choice, plan in (("parts", "one part at a time"), ("everything", "whole"), ("automatic", "whole")):
            engine.memory.choose(choice)
            assert drawn(engine, "plain") == first
            (components,) = painter._models.values()
            assert components.stay is not None
            assert (components.stay.plan, components.stay.packing) == (plan, None)
        engine.memory.choose("parts")
    with Engine(Settings(data=tmp_path, worker="inline", dtype="float32", device="cpu")) as engine:
        assert drawn(engine, "plain") == first
        (components,) = painter_of(engine)._models.values()
        assert components.stay is not None
        assert components.stay.plan == "one part at a time"


def test_the_page_and_the_worker_speak_of_the_same_budget(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, worker="inline", dtype="float32", device="cpu", memory_gb=0.255)
    with Engine(settings) as engine:
        card = next(card for card in engine.models() if card.name == "starter")
        assert engine.memory.fit(card.parts).text == "0.2 of 0.3 GB"
        assert painter_of(engine)._room.bytes == engine.memory.room().bytes
