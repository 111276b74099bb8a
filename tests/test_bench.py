"""The bench itself: what it says without a graphics card, and that the race of full-size models runs, here with tiny ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.bench.__main__ import table
from tests.bench.card import NOT_MEASURED, card_rows, rows_on
from tests.bench.full_size import FULL_SIZES, FullSize
from tests.bench.row import Row
from tests.bench.runs import race
from tests.diffusion.families import STEPS, make_parts


def tiny_sd1() -> dict[str, Any]:
    parts = make_parts("sdxl")
    unet = type(parts["unet"])(
        sample_size=16, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=8, cross_attention_dim=16, attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    return {"tokenizer": "clip", "text_encoder": parts["text_encoder"], "unet": unet, "vae": parts["vae"], "scheduler": STEPS}


TINY = (
    FullSize("SD 1", "sd1", tiny_sd1, 64, 2, 7.0),
    FullSize("SDXL", "sdxl", lambda: make_parts("sdxl"), 64, 2, 7.0),
    FullSize("FLUX.1", "flux1", lambda: make_parts("flux1", guidance_embeds=False), 64, 2, 1.0),
)


def test_the_race_of_a_card_runs_on_tiny_models() -> None:
    assert [one.family for one in TINY] == [one.family for one in FULL_SIZES]
    rows, raw = rows_on(torch.device("cpu"), torch.float32, TINY, rounds=1)
    assert [row.what for row in rows[1:]] == [f"{one.title}, engine / bare diffusers" for one in TINY]
    assert all(len(row.picture) == 12 and row.passes is not None for row in rows[1:])
    assert len({row.picture for row in rows[1:]}) == len(TINY)
    for one in TINY:
        assert raw[one.title]["operations"] > 0
        assert len(raw[one.title]["engine"]) == len(raw[one.title]["bare"]) == 1


def test_without_a_card_the_table_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rows, raw = card_rows(1)
    assert {row.figure for row in rows} == {NOT_MEASURED}
    assert raw == {}
    assert table(rows).count(NOT_MEASURED) == len(FULL_SIZES)


def test_a_race_is_fair_and_its_first_round_is_not_kept() -> None:
    seen: dict[str, list[int]] = {"a": [], "b": []}
    times = race({name: seen[name].append for name in seen}, 4)
    assert seen == {"a": [0, 1, 2, 3, 4], "b": [0, 1, 2, 3, 4]}
    assert [len(values) for values in times.values()] == [4, 4]


def test_a_row_says_whether_its_bar_is_met() -> None:
    lines = table([Row("a", "1 s", "≤ 2 s", True, "0123"), Row("b", "3 s", "≤ 2 s", False), Row("c", "4 s", "", None)]).splitlines()[2:]
    assert lines == ["| a | 1 s | ≤ 2 s | met | `0123` |", "| b | 3 s | ≤ 2 s | not met |  |", "| c | 4 s |  |  |  |"]
