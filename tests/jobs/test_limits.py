"""What one visitor may use of a studio that many share; others are not touched by it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from engine import Busy, Engine, Finished, Settings, TextToImage, parse_axis
from tests.conftest import OWNER, events_of
from tests.pictures import encoded
from tests.studio import wait_for

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


def test_a_sheet_that_would_be_too_many_pictures_leaves_nothing(tmp_path: Path, request_of: Wish) -> None:
    with closing(Engine(Settings(data=tmp_path, worker="inline", picture_limit=3))) as engine:
        with pytest.raises(Busy, match="3 pictures are kept"):
            engine.sheets.grid(request_of().model_dump(exclude_none=True), [parse_axis("guidance", "1, 2, 3, 4, 5")], OWNER)
        assert engine.jobs(OWNER) == []
        engine.sheets.grid(request_of().model_dump(exclude_none=True), [parse_axis("guidance", "1, 2, 3")], OWNER)
        assert len(engine.jobs(OWNER)) == 3


def test_maps_count_as_brought_pictures(studio: Callable[..., Engine]) -> None:
    """Each value of a setting makes another one"""
    engine = studio(upload_mb=0.1)
    source = engine.add_input(encoded(np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)), OWNER)
    with pytest.raises(Busy, match="MB of pictures"):
        engine.controls.map(source.hash, "canny", {}, OWNER)


def test_pictures_may_lie_on_another_disk(tmp_path: Path, request_of: Wish) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "large").mkdir()
    (tmp_path / "data" / "images").symlink_to(tmp_path / "large")
    for _ in range(2):
        with Engine(Settings(data=tmp_path / "data", worker="inline", dtype="float32", device="cpu")) as engine:
            ending = events_of(engine, engine.submit(request_of(), OWNER).id, OWNER)[-1]
            assert isinstance(ending, Finished), ending
            assert all(picture.path.read_bytes()[:4] == b"\x89PNG" for picture in engine.history(OWNER, 9))
    assert len(list((tmp_path / "large").rglob("*.png"))) == 2


def test_tiles_that_nobody_came_back_for_go_without_a_restart(studio: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.jobs.dispatcher._SWEEP_S", 0.5)
    studio()
    old, new = (tmp_path / "tiles" / name for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "0-1.png").write_bytes(b"tile")
    long_ago = time.time() - 30 * 86400
    os.utime(old, (long_ago, long_ago))
    wait_for(lambda: not old.exists(), 20, "the old tiles to go")
    assert new.exists()
