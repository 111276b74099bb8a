"""Rows about a graphics card: full-size models, ours against diffusers in eager mode on the same weights, and the share of the card's limit."""

from __future__ import annotations

import gc
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.contract.families import FAMILIES, guidance_kind
from engine.contract.recipe import Recipe
from engine.contract.work import Work
from engine.diffusion.loading import Components
from engine.diffusion.painter import Painter
from tests.bench.full_size import FULL_SIZES, FullSize
from tests.bench.limits import product_rates
from tests.bench.row import Row
from tests.bench.runs import picture_hash, race
from tests.diffusion.families import PIPELINES, pipeline, save_family

NOT_MEASURED = "not measured: no NVIDIA GPU here"


def card_rows(rounds: int) -> tuple[list[Row], dict[str, Any]]:
    if not torch.cuda.is_available():
        return [Row(f"{one.title}, engine / bare diffusers", NOT_MEASURED, "≤ 1.0", None) for one in FULL_SIZES], {}
    return rows_on(torch.device("cuda"), torch.bfloat16, FULL_SIZES, rounds)


def rows_on(device: torch.device, dtype: torch.dtype, sizes: Sequence[FullSize], rounds: int) -> tuple[list[Row], dict[str, Any]]:
    """One model after the other: made at random on the device, saved, loaded through the engine's door, raced."""
    limit = statistics.median(product_rates(dtype, device, rounds))
    rows: list[Row] = [Row(f"the limit of {_name(device)}: a product of matrices", f"{limit / 1e12:.2f} Tflop/s", "", None)]
    raw: dict[str, Any] = {"limit": limit}
    for one in sizes:
        row, raw[one.title] = race_of(one, device, dtype, rounds, limit)
        rows.append(row)
        gc.collect()
        torch.cuda.empty_cache()
    return rows, raw


def race_of(one: FullSize, device: torch.device, dtype: torch.dtype, rounds: int, limit: float) -> tuple[Row, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / one.family
        usual = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with device:
                save_family(folder, PIPELINES[one.family]["txt2img"].split(":")[1], one.make())
        finally:
            torch.set_default_dtype(usual)
        painter = Painter(device=device.type, dtype=str(dtype).removeprefix("torch."), previews=False)
        components, _ = painter.load(folder)
        pipe = pipeline(components, "txt2img")

        def ours(number: int) -> None:
            for _ in painter.paint(Work("bench", _recipe(one, components, number), folder)):
                pass

        def theirs(number: int) -> None:
            pipe(
                "a red castle at sunset", num_inference_steps=one.steps, guidance_scale=one.guidance, width=one.edge, height=one.edge,
                generator=torch.Generator().manual_seed(number),
            )  # fmt: skip

        times = race({"engine": ours, "bare": theirs}, rounds)
        with FlopCounterMode(display=False) as counter:
            ours(0)
        picture = picture_hash(painter, _recipe(one, components, 1), folder)
    ratio = statistics.median(a / b for a, b in zip(times["engine"], times["bare"], strict=True))
    whole = statistics.median(times["engine"])
    share = counter.get_total_flops() / whole / limit
    figure = f"{ratio:.2f} ({whole:.2f} s / {statistics.median(times['bare']):.2f} s), {share:.0%} of the limit"
    return Row(f"{one.title}, engine / bare diffusers", figure, "≤ 1.0", ratio <= 1.0, picture), {**times, "operations": counter.get_total_flops()}


def _recipe(one: FullSize, components: Components, seed: int) -> Recipe:
    kind = guidance_kind(one.family, components.network.config)
    return Recipe(
        model=one.family, model_hash="", prompt="a red castle at sunset", negative_prompt="", steps=one.steps, guidance_scale=one.guidance,
        scheduler="flow_euler" if FAMILIES[one.family].is_flow else "euler", width=one.edge, height=one.edge, seed=seed, count=1,
        guidance_kind=None if kind == "cfg" else kind,
    )  # fmt: skip


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "this processor"
