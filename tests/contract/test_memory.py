"""What fits where, in words: pure arithmetic over the sizes of a model's parts."""

from __future__ import annotations

import pytest

from engine.contract.memory import Room, fit, gigabytes
from engine.machine import find_room

GB = 1024**3
SDXL = {"unet": int(4.8 * GB), "text_encoder": int(0.23 * GB), "text_encoder_2": int(1.3 * GB), "vae": int(0.16 * GB)}
FLUX = {"transformer": int(22.2 * GB), "text_encoder": int(0.23 * GB), "text_encoder_2": int(8.9 * GB), "vae": int(0.16 * GB)}
STARTER = {"unet": 30 * 1024**2, "text_encoder": 4 * 1024**2, "vae": 3 * 1024**2}


def gpu(size: float) -> Room:
    return Room("GPU", int(size * GB), is_host=False)


@pytest.mark.parametrize(
    ("parts", "room", "plan", "text"),
    [
        (SDXL, gpu(24), "whole", "7.7 of 24 GB"),
        (SDXL, gpu(8), "whole", "7.7 of 8 GB"),
        (SDXL, gpu(7), "text encoder on CPU", "6.2 of 7 GB, text encoder on CPU"),
        (SDXL, gpu(6.05), "one part at a time", "6 of 6 GB, one part at a time"),
        (SDXL, gpu(4), "in pieces", "1.9 of 4 GB, in pieces"),
        (SDXL, gpu(1), "too large", "needs 1.9 GB, and there are 1"),
        (FLUX, gpu(24), "text encoder on CPU", "24 of 24 GB, text encoder on CPU"),
        (FLUX, gpu(12), "in pieces", "4.8 of 12 GB, in pieces"),
        (FLUX, gpu(80), "whole", "33 of 80 GB"),
        # The computer's own memory: there is nowhere else to put a part.
        (FLUX, Room("this computer", 24 * GB, is_host=True), "too large", "needs 33 GB, and there are 24"),
        (STARTER, Room("this computer", 16 * GB, is_host=True), "whole", "0.2 of 16 GB"),
    ],
)
def test_the_quickest_plan_that_fits_is_named(parts: dict[str, int], room: Room, plan: str, text: str) -> None:
    found = fit(parts, room)
    assert (found.plan, found.text) == (plan, text)
    assert found.is_possible == (found.needed_bytes <= room.bytes)


def test_more_memory_never_makes_a_plan_slower() -> None:
    order = ("too large", "in pieces", "one part at a time", "text encoder on CPU", "whole")
    for parts in (SDXL, FLUX, STARTER):
        ranks = [order.index(fit(parts, gpu(size / 4)).plan) for size in range(1, 200)]
        assert ranks == sorted(ranks)


def test_a_model_without_a_separate_text_encoder_is_not_told_to_move_one() -> None:
    assert {fit({"unet": 8 * GB}, gpu(size)).plan for size in range(1, 20)} == {"too large", "in pieces", "whole"}


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (GB // 3, "0.3"), (8 * GB, "8"), (int(7.14 * GB), "7.1"), (int(9.97 * GB), "10"), (24 * GB, "24")]
)
def test_sizes_are_said_as_memory_is_sold(count: int, text: str) -> None:
    assert gigabytes(count) == text


def test_the_room_is_found_without_a_gpu() -> None:
    room = find_room("cpu")
    assert room.is_host
    assert room.bytes > GB
