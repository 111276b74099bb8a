"""What one visitor may use of a studio that many share; others are not touched by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from engine import Busy, Engine, Settings, TextToImage
from tests.conftest import OWNER, events_of
from tests.pictures import encoded

Wish = Callable[..., TextToImage]


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def make(**limits: object) -> Engine:
        engine = Engine(Settings.model_validate({"data": tmp_path, "worker": "inline", "dtype": "float32", "device": "cpu", **limits}))
        engine.start()
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


def draw(engine: Engine, request: TextToImage, owner: str = OWNER) -> None:
    events_of(engine, engine.submit(request, owner).id, owner)


def test_an_hour_of_drawing_ends(studio: Callable[..., Engine], request_of: Wish) -> None:
    engine = studio(device_seconds_per_hour=0.001)
    draw(engine, request_of())
    with pytest.raises(Busy, match="each visitor has"):
        engine.submit(request_of(), OWNER)
    draw(engine, request_of(), "visitor-other")


def test_pictures_have_a_limit_that_counts_those_to_come(studio: Callable[..., Engine], request_of: Wish) -> None:
    engine = studio(picture_limit=3)
    draw(engine, request_of(count=2))
    with pytest.raises(Busy, match="3 pictures are kept"):
        engine.submit(request_of(count=2), OWNER)
    draw(engine, request_of())
    draw(engine, request_of(count=3), "visitor-other")


def test_brought_pictures_have_room_for_so_much(studio: Callable[..., Engine]) -> None:
    engine = studio(upload_mb=0.1)
    noise = np.random.default_rng(0)
    pictures = [encoded(noise.integers(0, 255, (256, 256, 3), np.uint8)) for _ in range(3)]
    engine.add_input(pictures[0], OWNER)
    with pytest.raises(Busy, match="MB of pictures") as caught:
        engine.add_input(pictures[1], OWNER)
    assert caught.value.field == "source"
    engine.add_input(pictures[2], "visitor-other")


def test_waiting_jobs_have_a_limit(tmp_path: Path, request_of: Wish) -> None:
    # Not started: nothing is drawn, so all of them wait.
    with closing(Engine(Settings(data=tmp_path, worker="inline", queue_limit=2))) as engine:
        for _ in range(2):
            engine.submit(request_of(), OWNER)
        with pytest.raises(Busy, match="2 jobs waiting"):
            engine.submit(request_of(), OWNER)
        engine.submit(request_of(), "visitor-other")


@pytest.mark.parametrize("setting", ["device_seconds_per_hour", "upload_mb", "picture_limit", "queue_limit"])
def test_a_limit_of_nothing_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=setting):
        Settings.model_validate({setting: 0})
