"""How long the starter takes to load, and what one picture takes of memory, each in a process of its own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

import torch

from tests.bench.row import Row
from tests.conftest import STARTER
from tests.studio import peak_mb


def loading_rows(rounds: int = 3) -> tuple[list[Row], list[dict[str, float]]]:
    runs = [_in_its_own_process() for _ in range(rounds)]
    loads, imports, peaks = (statistics.median(run[name] for run in runs) for name in ("load", "imports", "peak_mb"))
    return [
        Row("the starter loads, its libraries imported", f"{loads:.2f} s (importing them after torch: {imports:.1f} s)", "≤ 1.5 s", loads <= 1.5),
        Row("peak memory of a process that draws one 256 × 256", f"{peaks:.0f} MB", "", None),
    ], runs


def _in_its_own_process() -> dict[str, float]:
    done = subprocess.run([sys.executable, "-W", "ignore", "-m", "tests.bench.loading"], capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout.splitlines()[-1])


def _measure() -> dict[str, float]:
    torch.zeros(1)
    start = time.perf_counter()
    from engine.contract.work import Work
    from engine.diffusion.painter import Painter

    painter = Painter()
    imports = time.perf_counter() - start
    start = time.perf_counter()
    painter.load(STARTER)
    load = time.perf_counter() - start
    # Not before: it would bring what is timed here.
    from tests.bench.runs import recipe

    for _ in painter.paint(Work("bench", recipe(20, 1), STARTER)):
        pass
    return {"imports": imports, "load": load, "peak_mb": peak_mb()}


if __name__ == "__main__":
    print(json.dumps(_measure()))
