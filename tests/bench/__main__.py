"""How fast: `make bench`. One run, medians and ratios, contestants in shuffled order; raw numbers in tests/bench/results."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from engine.contract.recipe import Recipe
from engine.contract.work import Pixels, Stepped, Work
from engine.diffusion.painter import Painter
from tests.bench.adapters import adapter_rows
from tests.bench.controls import control_rows
from tests.bench.guidance import guidance_rows
from tests.bench.loading import loading_rows
from tests.bench.pictures import picture_rows
from tests.bench.row import Row
from tests.conftest import STARTER
from tests.studio import Studio

RESULTS = Path(__file__).parent / "results"


def recipe(steps: int, seed: int) -> Recipe:
    return Recipe(
        model="starter",
        model_hash="",
        prompt="a red castle at sunset",
        negative_prompt="blurry",
        steps=steps,
        guidance_scale=4.0,
        scheduler="dpmpp_2m",
        width=256,
        height=256,
        seed=seed,
        count=1,
    )


def bare_pipeline(dtype: torch.dtype) -> Callable[[Recipe], None]:
    """Stock diffusers on the same weights, as its own documentation would run it."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    pipe: Any = StableDiffusionPipeline.from_pretrained(STARTER, safety_checker=None, torch_dtype=dtype, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)

    def run(asked: Recipe) -> None:
        rng = torch.Generator().manual_seed(asked.seed)
        pipe(
            asked.prompt,
            negative_prompt=asked.negative_prompt,
            num_inference_steps=asked.steps,
            guidance_scale=asked.guidance_scale,
            width=asked.width,
            height=asked.height,
            generator=rng,
        )

    return run


def ours(painter: Painter) -> Callable[[Recipe], None]:
    def run(asked: Recipe) -> None:
        for _ in painter.paint(Work("bench", asked, STARTER)):
            pass

    return run


def race(contestants: dict[str, Callable[[Recipe], None]], *, steps: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contestant in each round; the order is shuffled anew each time."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        run(recipe(steps, 0))
    for number in range(rounds):
        for name in random.sample(sorted(contestants), len(contestants)):
            start = time.perf_counter()
            contestants[name](recipe(steps, number))
            times[name].append(time.perf_counter() - start)
    return times


def first_preview(painter: Painter) -> tuple[float, float]:
    """Seconds to the first preview and to the last step divided by steps, on a warm model."""
    start = time.perf_counter()
    marks: list[float] = []
    for message in painter.paint(Work("bench", recipe(20, 1), STARTER)):
        if isinstance(message, (Stepped, Pixels)):
            marks.append(time.perf_counter() - start)
    return marks[0], (marks[-2] - marks[0]) / 19


def measure(rounds: int) -> tuple[list[Row], dict[str, Any]]:
    painter = Painter(device="auto")
    painter.load(STARTER)
    dtype = painter._dtype  # pyright: ignore[reportPrivateUsage]
    contestants = {
        "bare": bare_pipeline(dtype),
        "engine without previews": ours(_painter(previews=False)),
        "engine": ours(painter),
        "engine float32": ours(_painter(previews=True, dtype="float32")),
    }
    rows: list[Row] = []
    raw: dict[str, Any] = {"dtype": str(dtype)}
    for steps in (20, 4):
        times = race(contestants, steps=steps, rounds=rounds)
        raw[f"{steps} steps"] = times
        medians = {name: statistics.median(values) for name, values in times.items()}
        ratio = statistics.median(a / b for a, b in zip(times["engine without previews"], times["bare"], strict=True))
        rows.append(
            Row(
                f"engine / bare diffusers, {steps} steps, {dtype}",
                f"{ratio:.2f} ({medians['engine without previews']:.2f} s / {medians['bare']:.2f} s)",
                "≤ 1.0",
                ratio <= 1.0,
            )
        )
        if steps == 20:
            overhead = statistics.median(a / b for a, b in zip(times["engine"], times["engine without previews"], strict=True)) - 1
            rows.append(Row("previews, share of the run", f"{overhead:.1%}", "≤ 3 %", overhead <= 0.03))
            rows.append(Row("256 × 256, 20 steps, guided, with previews", f"{medians['engine']:.2f} s", "≤ 1 s", medians["engine"] <= 1.0))
            rows.append(Row("float32 instead", f"{medians['engine float32']:.2f} s", "", None))
    firsts = [first_preview(painter) for _ in range(rounds)]
    first, step = (statistics.median(values) for values in zip(*firsts, strict=True))
    raw["first preview"] = firsts
    rows.append(Row("first preview, warm", f"{first * 1000:.0f} ms (a step is {step * 1000:.0f} ms)", "≤ a step + 50 ms", first <= step + 0.050))
    starts: list[float] = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder, Studio(Path(folder)) as studio:
            starts.append(studio.started_s)
    raw["page start"] = starts
    rows.append(Row("page answers after start", f"{statistics.median(starts):.1f} s", "< 3 s", statistics.median(starts) < 3))
    loaded, raw["loading"] = loading_rows()
    more, raw["pictures"] = picture_rows(rounds)
    return [*rows, *loaded, *more], raw


def measure_steering(rounds: int) -> tuple[list[Row], dict[str, Any]]:
    swapped, adapters = adapter_rows(rounds)
    controlled, controls = control_rows(rounds)
    guided, guidance = guidance_rows(rounds)
    return [*swapped, *controlled, *guided], {"adapters": adapters, "controls": controls, "guidance": guidance}


def _painter(*, previews: bool, dtype: str = "auto") -> Painter:
    painter = Painter(device="auto", dtype=dtype, previews=previews)
    painter.load(STARTER)
    return painter


def table(rows: list[Row]) -> str:
    lines = ["| what | figure | bar | |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.figure} | {row.bar} | {'' if row.passes is None else 'met' if row.passes else 'not met'} |" for row in rows]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=("drawing", "steering"), help="one of the two tables; both without it")
    options = parser.parse_args()
    from engine.diffusion.quiet import quiet_libraries

    quiet_libraries()
    tables = {"drawing": (measure, "latest.json"), "steering": (measure_steering, "steering.json")}
    RESULTS.mkdir(exist_ok=True)
    for name, (run, file) in tables.items():
        if options.only in (None, name):
            load = os.getloadavg()[0]
            rows, raw = run(options.rounds)
            # What else the machine did: a figure of a busy one is worth what its ratios are worth.
            content = {"machine": {**machine(), "load": [load, os.getloadavg()[0]]}, "rows": [asdict(row) for row in rows], "raw": raw}
            (RESULTS / file).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            print(table(rows))
    return 0


def machine() -> dict[str, Any]:
    return {"platform": platform.platform(), "threads": torch.get_num_threads(), "torch": torch.__version__, "cuda": torch.cuda.is_available()}


if __name__ == "__main__":
    sys.exit(main())
