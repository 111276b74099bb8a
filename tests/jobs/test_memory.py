"""Memory through the door: a studio that was told to take little draws what any studio draws, whatever works beside the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Engine, Settings
from engine.contract.memory import MemoryChoice
from engine.diffusion.painter import Painter
from engine.jobs.hosts.inline import InlineHost
from tests.pictures import bring, draw, read, scene

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


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    data = tmp_path_factory.mktemp("quantised")
    with Engine(Settings(data=data, worker="inline", dtype="float32", device="cpu")) as engine:
        engine.choose_memory("int8")
        yield engine


@pytest.mark.parametrize("work", WORKS)
def test_a_quantised_studio_draws_nearly_the_same(studios: tuple[Engine, Engine], quantised: Engine, work: str) -> None:
    """Adapters, references and a control that is made of the model's own weights included; and the same again once all has been let go"""
    first = drawn(quantised, work)
    assert first != drawn(studios[0], work)
    for one, other in zip(first, drawn(studios[0], work), strict=True):
        error = np.frombuffer(one, np.uint8).astype(float) - np.frombuffer(other, np.uint8)
        assert 10 * np.log10(255**2 / np.mean(error**2)) > 30
    painter_of(quantised)._residency.rest_all()
    assert drawn(quantised, work) == first
    (components,) = painter_of(quantised)._models.values()
    assert components.stay is not None
    assert components.stay.packing == "int8"


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
            engine.choose_memory(choice)
            assert drawn(engine, "plain") == first
            (components,) = painter._models.values()
            assert components.stay is not None
            assert (components.stay.plan, components.stay.packing) == (plan, None)
        engine.choose_memory("parts")
    with Engine(Settings(data=tmp_path, worker="inline", dtype="float32", device="cpu")) as engine:
        assert drawn(engine, "plain") == first
        (components,) = painter_of(engine)._models.values()
        assert components.stay is not None
        assert components.stay.plan == "one part at a time"


def test_the_page_and_the_worker_speak_of_the_same_budget(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, worker="inline", dtype="float32", device="cpu", memory_gb=0.255)
    with Engine(settings) as engine:
        card = next(card for card in engine.models() if card.name == "starter")
        assert engine.fit(card.parts).text == "0.2 of 0.3 GB"
        assert painter_of(engine)._room.bytes == engine.room().bytes
