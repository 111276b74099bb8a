"""Rows about control maps and units: a map made cold, warm and found again, and what a unit adds to a step."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engine import Engine, Settings
from engine.contract.controls import ControlUse
from engine.contract.work import Work
from engine.diffusion.painter import Painter
from engine.library.controlnets import BUNDLED_CONTROLS
from tests.bench.row import Row
from tests.bench.runs import recipe
from tests.conftest import OWNER, STARTER
from tests.pictures import bring, scene

EDGE = 512


def control_rows(rounds: int) -> tuple[list[Row], dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(Settings(data=Path(folder), worker="process"))
        try:
            sources = [bring(engine, np.asarray(cv2.resize(scene(128, 128, number=n), (EDGE, EDGE)), np.uint8)) for n in range(rounds + 1)]
            cold = _seconds(lambda: engine.controls.map(sources[0], "canny", {}, OWNER))
            warm = [_seconds(lambda one=one: engine.controls.map(one, "canny", {}, OWNER)) for one in sources[1:]]
            cached = [_seconds(lambda one=one: engine.controls.map(one, "canny", {}, OWNER)) for one in sources[1:]]
        finally:
            engine.close()
    plain, steered = unit_times(rounds)
    cached_ms, share = statistics.median(cached) * 1000, statistics.median(b / a for a, b in zip(plain, steered, strict=True)) - 1
    rows = [
        Row(f"a Canny map of {EDGE} × {EDGE}, the first one (its process starts)", f"{cold:.1f} s", "", None),
        Row("the next ones", f"{statistics.median(warm) * 1000:.0f} ms", "", None),
        Row("the same map again", f"{cached_ms:.1f} ms", "≤ 50 ms", cached_ms <= 50),
        Row("a control unit over all steps, share of the run", f"{share:.0%}", "≤ 60 %", share <= 0.6),
    ]
    return rows, {"map cold": cold, "map warm": warm, "map cached": cached, "plain": plain, "steered": steered}


def unit_times(rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of drawing without a unit and with one, in turn; the control is loaded before."""
    painter = Painter()
    painter.load(STARTER)
    digest = "0" * 64
    use = ControlUse(image=digest, map=digest, control="starter-edges", control_hash="bench")
    plain: list[float] = []
    steered: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "map.png"
        cv2.imwrite(str(source), cv2.Canny(scene(256, 256), 100, 200))
        for number in range(rounds + 1):
            for times, controls in ((plain, None), (steered, (use,))):
                files = {} if controls is None else {"starter-edges": BUNDLED_CONTROLS / "starter-edges.safetensors"}
                work = Work("bench", recipe(20, number, controls=controls), STARTER, inputs={digest: source}, controls=files)
                times.append(_seconds(lambda work=work: [None for _ in painter.paint(work)]))
    return plain[1:], steered[1:]


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
