"""Rows about a day's work in this process: several pictures, many sizes, another style or model each time, 200 pictures on end."""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from engine.contract.adapters import LoraUse
from engine.contract.work import Work
from engine.diffusion.painter import Painter
from engine.library.loras import BUNDLED_LORAS
from tests.bench.row import Row
from tests.bench.runs import bare_pipeline, ours, picture_hash, race, ready_painter, recipe
from tests.conftest import STARTER
from tests.studio import resident_mb

_SIZES = ((256, 256), (192, 256), (256, 192), (320, 256), (256, 320), (384, 256), (256, 384), (320, 320))
_STYLES = ("ink", "neon")
_STEPS, _MANY = 8, 200


def workload_rows(rounds: int) -> tuple[list[Row], dict[str, Any]]:
    painter = ready_painter(previews=False)
    rows, raw = count_rows(painter, rounds)
    for more, name, values in (sizes_row(painter, rounds), styles_row(painter, rounds), models_row(painter, rounds), growth_row()):
        rows.append(more)
        raw[name] = values
    return rows, raw


def count_rows(painter: Painter, rounds: int) -> tuple[list[Row], dict[str, Any]]:
    """Eight pictures of one job. We draw one after the other, so that each is what it is alone, to the byte; the library can do the same, or a batch."""
    bare = bare_pipeline(painter._dtype)  # pyright: ignore[reportPrivateUsage]
    times = race(
        {
            "one": lambda number: ours(painter)(recipe(_STEPS, number)),
            "eight": lambda number: ours(painter)(recipe(_STEPS, number, count=8)),
            "bare, eight": lambda number: [bare(recipe(_STEPS, 8 * number + one)) for one in range(8)],
            "bare, a batch": lambda number: bare(recipe(_STEPS, number, count=8)),
        },
        min(rounds, 5),
    )
    each = statistics.median(eight / 8 / one for eight, one in zip(times["eight"], times["one"], strict=True))
    alike, batch = (statistics.median(a / b for a, b in zip(times["eight"], times[name], strict=True)) for name in ("bare, eight", "bare, a batch"))
    whole = statistics.median(times["eight"])
    return [
        Row(f"one of eight pictures / a picture alone, {_STEPS} steps", f"{each:.2f}", "≤ 1.0", each <= 1.0),
        Row(
            f"eight pictures, engine / bare diffusers one after the other, {_STEPS} steps",
            f"{alike:.2f} ({whole:.2f} s)",
            "≤ 1.0",
            alike <= 1.0,
            picture_hash(painter, recipe(_STEPS, 1, count=8)),
        ),
        Row("the same / bare diffusers in a batch of eight, whose pictures are not what they are alone", f"{batch:.2f}", "", None),
    ], {"count": times}


def sizes_row(painter: Painter, rounds: int) -> tuple[Row, str, Any]:
    """Eight sizes in random order against the same sizes one by one: what a change of shape costs."""

    def draw(order: list[tuple[int, int]], number: int) -> None:
        for width, height in order:
            ours(painter)(recipe(4, number, width=width, height=height))

    doubled = [size for size in _SIZES for _ in range(2)]
    times = race(
        {"sorted": lambda number: draw(doubled, number), "shuffled": lambda number: draw(random.sample(doubled, len(doubled)), number)},
        min(rounds, 5),
    )
    ratio = statistics.median(a / b for a, b in zip(times["shuffled"], times["sorted"], strict=True))
    picture = picture_hash(painter, recipe(4, 1, width=384, height=256))
    return Row("eight sizes in random order / in order, 4 steps", f"{ratio:.2f}", "≤ 1.1", ratio <= 1.1, picture), "sizes", times


def styles_row(painter: Painter, rounds: int) -> tuple[Row, str, Any]:
    """Another style LoRA each picture, against one that stays."""

    def work(name: str, seed: int) -> Work:
        use = LoraUse(name=name, weight=0.8, hash="bench")
        return Work("bench", recipe(_STEPS, seed, loras=(use,)), STARTER, loras=(BUNDLED_LORAS / f"{name}.safetensors",))

    def draw(names: tuple[str, str], seed: int) -> None:
        for name in names:
            for _ in painter.paint(work(name, seed)):
                pass

    times = race({"same": lambda number: draw(("ink", "ink"), number), "swapped": lambda number: draw(_STYLES, number)}, rounds)
    extra = statistics.median((a - b) / 2 for a, b in zip(times["swapped"], times["same"], strict=True)) * 1000
    return Row("another style each picture, more than the same one", f"{extra:.0f} ms", "≤ 150 ms", extra <= 150), "styles", times


def models_row(painter: Painter, rounds: int) -> tuple[Row, str, Any]:
    """A and B in turn, against A alone. B is a copy of A: another folder, the same work."""
    with tempfile.TemporaryDirectory() as folder:
        other = Path(shutil.copytree(STARTER, Path(folder) / "other"))

        def draw(folders: tuple[Path, Path], seed: int) -> None:
            for one in folders:
                for _ in painter.paint(Work("bench", recipe(4, seed), one)):
                    pass

        times = race({"A-A": lambda number: draw((STARTER, STARTER), number), "A-B": lambda number: draw((STARTER, other), number)}, min(rounds, 5))
    extra = statistics.median((a - b) / 2 for a, b in zip(times["A-B"], times["A-A"], strict=True)) * 1000
    return Row("models A-B-A, a switch takes", f"{extra:.0f} ms", "", None), "models", times


def growth_row() -> tuple[Row, str, Any]:
    """In a process of its own, so that nobody else's memory is counted."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.bench.workloads"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    sizes = json.loads(done.stdout.splitlines()[-1])
    # The first quarter fills caches and pools.
    grown = sizes[-1] - sizes[len(sizes) // 4]
    row = Row(f"memory over {_MANY} pictures, from the 50th", f"{grown:+.0f} MB ({sizes[-1]:.0f} MB)", "≤ 20 MB", grown <= 20)
    return row, "growth", sizes


def _sizes() -> list[float]:
    painter, sizes = ready_painter(), list[float]()
    rng = random.Random(7)
    for seed in range(_MANY):
        width, height = rng.choice(_SIZES)
        ours(painter)(recipe(2, seed, width=width, height=height))
        sizes.append(resident_mb())
    return sizes


if __name__ == "__main__":
    print(json.dumps(_sizes()))
