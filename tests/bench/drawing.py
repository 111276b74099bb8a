"""Rows about one picture in this process: against the bare library, previews, precision, the first preview."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from engine.contract.work import Pixels, Stepped, Work
from engine.diffusion.painter import Painter
from tests.bench.limits import limit_rows
from tests.bench.row import Row
from tests.bench.runs import bare_pipeline, ours, picture_hash, race, ready_painter, recipe
from tests.conftest import STARTER

_OWN_BAR = 0.8


def drawing_rows(rounds: int) -> tuple[list[Row], dict[str, Any]]:
    painter, silent, exact = ready_painter(), ready_painter(previews=False), ready_painter(dtype="float32")
    dtype = painter._dtype  # pyright: ignore[reportPrivateUsage]
    bare, stock = bare_pipeline(dtype), bare_pipeline(torch.float32)
    runs = {"bare": bare, "stock": stock, "engine without previews": ours(silent), "engine": ours(painter), "engine float32": ours(exact)}
    rows: list[Row] = []
    raw: dict[str, Any] = {"dtype": str(dtype)}
    for steps in (20, 4):
        contestants = {name: (lambda number, run=run, steps=steps: run(recipe(steps, number))) for name, run in runs.items()}
        times = raw[f"{steps} steps"] = race(contestants, rounds)
        rows += _against_the_library(times, steps, dtype, picture_hash(silent, recipe(steps, 1)))
        if steps == 20:
            rows += _of_ours(times, picture_hash(exact, recipe(20, 1)))
            limits, raw["limits"] = limit_rows(painter, statistics.median(times["engine without previews"]), rounds)
            rows = [*limits, *rows]
    firsts = raw["first preview"] = [first_preview(painter) for _ in range(rounds)]
    first, step = (statistics.median(values) for values in zip(*firsts, strict=True))
    rows.append(Row("first preview, warm", f"{first * 1000:.0f} ms (a step is {step * 1000:.0f} ms)", "≤ a step + 50 ms", first <= step + 0.050))
    return rows, raw


def _against_the_library(times: dict[str, list[float]], steps: int, dtype: torch.dtype, picture: str) -> list[Row]:
    """Like for like, and each with the defaults that it starts with: the library in float32, we in what measures best, with previews."""
    like, own = _ratio(times, "engine without previews", "bare"), _ratio(times, "engine", "stock")
    name = str(dtype).removeprefix("torch.")
    return [
        Row(
            f"engine / bare diffusers, {steps} steps, {name}", _figure(times, like, "engine without previews", "bare"), "≤ 1.0", like <= 1.0, picture
        ),
        Row(
            f"the same, each with its own defaults, {steps} steps",
            _figure(times, own, "engine", "stock"),
            f"≤ {_OWN_BAR}",
            own <= _OWN_BAR,
        ),
    ]


def _of_ours(times: dict[str, list[float]], exact: str) -> list[Row]:
    share, whole = _ratio(times, "engine", "engine without previews") - 1, statistics.median(times["engine"])
    return [
        Row("previews, share of the run", f"{share:.1%}", "≤ 3 %", share <= 0.03),
        Row("256 × 256, 20 steps, guided, with previews", f"{whole:.2f} s", "≤ 1 s", whole <= 1.0),
        Row("float32 instead", f"{statistics.median(times['engine float32']):.2f} s", "", None, exact),
    ]


def first_preview(painter: Painter) -> tuple[float, float]:
    """Seconds to the first preview and to the last step divided by steps, on a warm model."""
    start = time.perf_counter()
    marks: list[float] = []
    for message in painter.paint(Work("bench", recipe(20, 1), STARTER)):
        if isinstance(message, (Stepped, Pixels)):
            marks.append(time.perf_counter() - start)
    return marks[0], (marks[-2] - marks[0]) / 19


def _ratio(times: dict[str, list[float]], ours_: str, theirs: str) -> float:
    return statistics.median(a / b for a, b in zip(times[ours_], times[theirs], strict=True))


def _figure(times: dict[str, list[float]], ratio: float, ours_: str, theirs: str) -> str:
    return f"{ratio:.2f} ({statistics.median(times[ours_]):.2f} s / {statistics.median(times[theirs]):.2f} s)"
