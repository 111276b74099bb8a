"""How fast: `make bench`. One run, medians and ratios, contestants in shuffled order; raw numbers in tests/bench/results."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tests.bench.adapters import adapter_rows
from tests.bench.card import card_rows
from tests.bench.controls import control_rows
from tests.bench.drawing import drawing_rows
from tests.bench.guidance import guidance_rows
from tests.bench.loading import loading_rows
from tests.bench.page import page_rows
from tests.bench.pictures import picture_rows
from tests.bench.row import Row
from tests.bench.workloads import workload_rows

RESULTS = Path(__file__).parent / "results"
Rows = tuple[list[Row], Any]


def measure(stages: dict[str, Callable[[int], Rows]], rounds: int) -> tuple[list[Row], dict[str, Any]]:
    rows: list[Row] = []
    raw: dict[str, Any] = {}
    for name, stage in stages.items():
        print(f"{name} …", file=sys.stderr, flush=True)
        made, raw[name] = stage(rounds)
        rows += made
    return rows, raw


TABLES: dict[str, dict[str, Callable[[int], Rows]]] = {
    "drawing": {
        "drawing": drawing_rows,
        "workloads": workload_rows,
        "loading": lambda _rounds: loading_rows(),
        "pictures": picture_rows,
    },
    "page": {"page": page_rows},
    "card": {"card": card_rows},
    "steering": {"adapters": adapter_rows, "controls": control_rows, "guidance": guidance_rows},
}
FILES = {"drawing": "latest.json", "page": "page.json", "card": "card.json", "steering": "steering.json"}


def table(rows: list[Row]) -> str:
    lines = ["| what | figure | bar | | picture |", "|---|---|---|---|---|"]
    verdict = {None: "", True: "met", False: "not met"}
    lines += [f"| {row.what} | {row.figure} | {row.bar} | {verdict[row.passes]} | {row.picture and f'`{row.picture}`'} |" for row in rows]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=tuple(TABLES), help="one of the tables; all without it")
    options = parser.parse_args()
    from engine.diffusion.libraries import prepare_libraries

    prepare_libraries()
    RESULTS.mkdir(exist_ok=True)
    for name, stages in TABLES.items():
        if options.only in (None, name):
            load = os.getloadavg()[0]
            rows, raw = measure(stages, options.rounds)
            # What else the machine did: a figure of a busy one is worth what its ratios are worth.
            content = {"machine": {**machine(), "load": [load, os.getloadavg()[0]]}, "rows": [asdict(row) for row in rows], "raw": raw}
            (RESULTS / FILES[name]).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            print(table(rows))
    return 0


def machine() -> dict[str, Any]:
    versions = {name: version(name) for name in ("torch", "diffusers", "transformers", "gradio")}
    return {"platform": platform.platform(), "threads": torch.get_num_threads(), "cuda": torch.cuda.is_available(), "versions": versions}


if __name__ == "__main__":
    sys.exit(main())
