"""What fits where, in words: pure arithmetic over the sizes of a model's parts."""

from __future__ import annotations

import pytest

from engine.contract.memory import MemoryChoice, Plan, Room, fit, gigabytes, ladder, lighter, on_other_weights, tile_edge, went_on
from engine.machine import find_room

GB = 1024**3
SDXL = {"unet": int(4.8 * GB), "text_encoder": int(0.23 * GB), "text_encoder_2": int(1.3 * GB), "vae": int(0.16 * GB)}
FLUX = {"transformer": int(22.2 * GB), "text_encoder": int(0.23 * GB), "text_encoder_2": int(8.9 * GB), "vae": int(0.16 * GB)}
STARTER = {"unet": 30 * 1024**2, "text_encoder": 4 * 1024**2, "vae": 3 * 1024**2}


def gpu(size: float) -> Room:
    return Room("GPU", int(size * GB), is_host=False)


def host(size: float) -> Room:
    return Room("this computer", int(size * GB), is_host=True)


@pytest.mark.parametrize(
    ("parts", "room", "plan", "text"),
    [
        (SDXL, gpu(24), "whole", "7.7 of 24 GB"),
        (SDXL, gpu(8), "whole", "7.7 of 8 GB"),
        (SDXL, gpu(7), "text encoder on CPU", "6.2 of 7 GB, text encoder on CPU"),
        (SDXL, gpu(6.05), "one part at a time", "6 of 6 GB, one part at a time"),
        (SDXL, gpu(4), "in pieces", "1.9 of 4 GB, in pieces"),
        (SDXL, gpu(1.7), "in 8 bits", "1.6 of 1.7 GB, in 8 bits"),
        (SDXL, gpu(1), "in 8 bits", "needs 1.6 GB, and there are 1"),
        (FLUX, gpu(24), "text encoder on CPU", "24 of 24 GB, text encoder on CPU"),
        (FLUX, gpu(12), "in pieces", "4.8 of 12 GB, in pieces"),
        (FLUX, gpu(80), "whole", "33 of 80 GB"),
        # The computer's own memory: there is nowhere else to put a part but back on disk.
        (FLUX, host(24), "one part at a time", "24 of 24 GB, one part at a time"),
        (FLUX, host(16), "in 8 bits", "13 of 16 GB, in 8 bits"),
        (FLUX, host(8), "in 8 bits", "needs 13 GB, and there are 8"),
        (STARTER, host(16), "whole", "0.2 of 16 GB"),
    ],
)
def test_the_quickest_plan_that_fits_is_named(parts: dict[str, int], room: Room, plan: str, text: str) -> None:
    found = fit(parts, room)
    assert (found.plan, found.text) == (plan, text)
    assert found.is_possible == (found.needed_bytes <= room.bytes)


def test_more_memory_never_makes_a_plan_slower() -> None:
    order = ("in 8 bits", "in pieces", "one part at a time", "text encoder on CPU", "whole")
    for parts in (SDXL, FLUX, STARTER):
        for room in (gpu, host):
            ranks = [order.index(fit(parts, room(size / 4)).plan) for size in range(1, 200)]
            assert ranks == sorted(ranks)


def test_each_plan_of_a_ladder_takes_less_than_the_one_above() -> None:
    for parts in (SDXL, FLUX, STARTER, {"unet": GB}):
        for room in (gpu(8), host(8)):
            needed = [size for _, size in ladder(parts, room)]
            assert needed == sorted(needed, reverse=True)
            assert len(set(needed)) == len(needed)


@pytest.mark.parametrize(
    ("choice", "room", "plan"),
    [
        ("automatic", gpu(24), "whole"),
        ("everything", gpu(4), "whole"),
        ("everything", gpu(24), "whole"),
        ("encoders-on-cpu", gpu(24), "text encoder on CPU"),
        ("parts", gpu(24), "one part at a time"),
        ("pieces", gpu(24), "in pieces"),
        ("fp8", gpu(24), "in 8 bits"),
        ("parts", host(24), "one part at a time"),
        ("fp8", host(24), "in 8 bits"),
        # What a device cannot have is the next one below it.
        ("encoders-on-cpu", host(24), "one part at a time"),
        ("pieces", host(24), "in 8 bits"),
    ],
)
def test_the_operator_has_the_last_word(choice: MemoryChoice, room: Room, plan: str) -> None:
    assert fit(SDXL, room, choice).plan == plan


def test_what_the_operator_wants_is_still_said_where_it_does_not_fit() -> None:
    found = fit(SDXL, gpu(4), "everything")
    assert not found.is_possible
    assert found.text == "needs 7.7 GB, and there are 4"


@pytest.mark.parametrize(
    ("plan", "room", "below"),
    [
        ("whole", gpu(24), "text encoder on CPU"),
        ("text encoder on CPU", gpu(24), "one part at a time"),
        ("one part at a time", gpu(24), "in pieces"),
        # The last one draws another picture: nobody is brought there without a word.
        ("in pieces", gpu(24), None),
        ("in 8 bits", gpu(24), None),
        ("whole", host(24), "one part at a time"),
        ("one part at a time", host(24), None),
    ],
)
def test_below_a_plan_is_one_that_draws_the_same_picture(plan: Plan, room: Room, below: Plan | None) -> None:
    assert lighter(plan, SDXL, room) == below


def test_a_lighter_plan_is_told_in_one_sentence() -> None:
    assert went_on("text encoder on CPU") == "Ran out of memory; went on with the text encoder on the CPU."
    assert went_on("one part at a time") == "Ran out of memory; went on with one part of the model at a time."
    assert went_on("in pieces") == "Ran out of memory; went on with the model in pieces."


@pytest.mark.parametrize(
    ("width", "height", "spare", "edge"),
    [
        (512, 512, 512 * 512 * 1000, None),
        (1024, 1024, 512 * 512 * 1000, 512),
        (1024, 1024, 1024 * 1024 * 1000 - 1, 960),
        (2048, 512, 600 * 600 * 1000, 576),
        # No tile is so small that its edges are most of it.
        (1024, 1024, 1000, 256),
        (256, 192, 1000, None),
    ],
)
def test_only_pictures_above_the_threshold_are_decoded_in_tiles(width: int, height: int, spare: int, edge: int | None) -> None:
    assert tile_edge(width, height, 1000, spare) == edge


def test_a_model_without_a_separate_text_encoder_is_not_told_to_move_one() -> None:
    assert {fit({"unet": 8 * GB}, gpu(size)).plan for size in range(1, 20)} == {"in 8 bits", "in pieces", "whole"}


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (GB // 3, "0.3"), (8 * GB, "8"), (int(7.14 * GB), "7.1"), (int(9.97 * GB), "10"), (24 * GB, "24")]
)
def test_sizes_are_said_as_memory_is_sold(count: int, text: str) -> None:
    assert gigabytes(count) == text


def test_the_room_is_found_without_a_gpu() -> None:
    room = find_room("cpu")
    assert room.is_host
    assert room.bytes > GB
    assert find_room("cpu", 3).bytes == 3 * GB


def test_other_weights_are_told_in_one_sentence() -> None:
    assert on_other_weights(None, None) == on_other_weights("int8", "int8") == ""
    assert on_other_weights("fp8", None) == (
        "This picture was drawn with weights in 8 bits; here they are as they were trained, so small things will differ."
    )
    assert on_other_weights(None, "nf4") == (
        "This picture was drawn with weights as they were trained; here they are quantised to 4 bits, so small things will differ."
    )
    assert on_other_weights("fp8", "int8").count("8 bits") == 2
