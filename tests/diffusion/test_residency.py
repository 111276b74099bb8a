"""The book of bytes by itself: whatever is asked of it and whatever raises, it says where things are, and nothing needed is thrown out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engine.diffusion.residency import Place, Residency


class Box:
    """Something that takes bytes. It keeps a record of its moves and may fail at one, before or after it has let go of its place."""

    def __init__(self, size: int, rng: random.Random | None = None, place: Place = "disk") -> None:
        self.bytes = size
        self.place: Place = place
        self.moves: list[Place] = []
        self._rng = rng

    def move(self, place: Place) -> None:
        if self._rng is not None and place == "device" and self._rng.random() < 0.1:
            if self._rng.random() < 0.5:
                self.place = "disk"
            raise RuntimeError("CUDA out of memory")
        self.place = place
        self.moves.append(place)


def of(boxes: dict[str, Box], *, device: int, host: int | None) -> Residency:
    residency = Residency(device_bytes=device, host_bytes=host)
    for name, box in boxes.items():
        residency.hold(name, box)
    return residency


def test_the_least_recently_used_goes_to_host_memory_and_then_to_disk() -> None:
    boxes = {name: Box(10) for name in "abcd"}
    residency = of(boxes, device=20, host=10)
    for name in "abcd":
        residency.use([name])
    assert {name: box.place for name, box in boxes.items()} == {"a": "disk", "b": "host", "c": "device", "d": "device"}
    residency.use(["b"])
    assert {name: box.place for name, box in boxes.items()} == {"a": "disk", "b": "device", "c": "host", "d": "device"}


def test_where_the_device_is_the_computer_itself_what_goes_is_dropped() -> None:
    boxes = {name: Box(10) for name in "abc"}
    residency = of(boxes, device=20, host=None)
    for name in "abc":
        residency.use([name])
    assert [boxes[name].place for name in "abc"] == ["disk", "device", "device"]


def test_what_fits_stays() -> None:
    boxes = {name: Box(10) for name in "ab"}
    residency = of(boxes, device=20, host=None)
    for name in "abababab":
        residency.use([name])
    assert [boxes[name].moves for name in "ab"] == [["device"], ["device"]]


def test_room_to_work_in_counts() -> None:
    boxes = {name: Box(10) for name in "ab"}
    residency = of(boxes, device=25, host=None)
    residency.use(["a"])
    residency.use(["b"], spare=6)
    assert [boxes[name].place for name in "ab"] == ["disk", "device"]


def test_what_is_used_together_is_never_in_its_own_way() -> None:
    boxes = {name: Box(10) for name in "abc"}
    residency = of(boxes, device=15, host=0)
    residency.use(["c"])
    residency.use(["a", "b"])
    assert [boxes[name].place for name in "abc"] == ["device", "device", "disk"]


@contextmanager
def work(residency: Residency, keys: list[str], spare: int, rng: random.Random) -> Iterator[None]:
    """A body of a run, which may raise."""
    residency.use(keys, spare=spare)
    if rng.random() < 0.2:
        raise ValueError("the body")
    yield


@pytest.mark.parametrize("seed", range(60))
def test_over_random_loads_moves_and_failures_the_book_is_right(seed: int) -> None:
    rng = random.Random(seed)
    device, host = rng.randrange(20, 100), rng.choice([None, 0, rng.randrange(10, 100)])
    residency, boxes = Residency(device_bytes=device, host_bytes=host), dict[str, Box]()
    failed = 0
    for number in range(200):
        if not boxes or (len(boxes) < 12 and rng.random() < 0.2):
            boxes[f"box{number}"] = Box(rng.randrange(1, 20), rng)
            residency.hold(f"box{number}", boxes[f"box{number}"])
        act = rng.random()
        keys = rng.sample(sorted(boxes), min(len(boxes), rng.randrange(1, 3)))
        spare = rng.randrange(0, 10)
        try:
            if act < 0.7:
                with work(residency, keys, spare, rng):
                    assert all(boxes[key].place == "device" for key in keys)
                    wanted = sum(boxes[key].bytes for key in keys)
                    assert residency.bytes_on("device") <= max(device - spare, wanted)
            elif act < 0.85:
                residency.rest(keys)
                assert all(boxes[key].place != "device" for key in keys)
            elif act < 0.95:
                residency.forget(keys)
                for key in keys:
                    del boxes[key]
            else:
                residency.rest_all()
                assert residency.bytes_on("device") == 0
        except (RuntimeError, ValueError):
            failed += 1
        places: tuple[Place, ...] = ("device", "host", "disk")
        for place in places:
            assert residency.bytes_on(place) == sum(box.bytes for box in boxes.values() if box.place == place)
        assert residency.bytes_on("host") <= (host or 0)
    assert failed > 5
