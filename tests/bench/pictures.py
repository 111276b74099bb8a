"""Rows about pictures from pictures: a large mask accepted, a part pasted back, an enlargement in tiles."""

from __future__ import annotations

import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine import Engine, Settings, parse_request, parse_strokes
from engine.contract.recipe import Recipe
from engine.contract.work import Pixels, Work
from engine.diffusion.masking import plan_repaint, put_back
from engine.diffusion.painter import Painter
from tests.bench.row import Row
from tests.bench.runs import recipe
from tests.conftest import OWNER, STARTER
from tests.studio import peak_mb

LARGE = (4096, 3072)


def picture_rows(rounds: int) -> tuple[list[Row], dict[str, Any]]:
    accepted, whole = accept_times(rounds), paste_times(rounds)
    small, large = (enlarge_in_its_own_process(edge) for edge in (256, 768))
    raw = {"accept": accepted, "paste": whole, "upscale": [small, large]}
    accept_ms = statistics.median(accepted) * 1000
    paste_ms, share = statistics.median(whole["seconds"]) * 1000, statistics.median(whole["share"])
    rows = [
        Row("a mask of 200 strokes at 4096 × 3072, from its JSON to an accepted job", f"{accept_ms:.0f} ms", "≤ 300 ms", accept_ms <= 300),
        Row("cut out and paste back at 4096 × 3072, only masked", f"{paste_ms:.0f} ms ({share:.0%} of drawing it, 20 steps)", "", None),
    ]
    for one in (small, large):
        figure = f"{one['megapixels'] / one['seconds']:.2f} MP/s, {one['tiles']} tiles, peak {one['peak_mb']:.0f} MB"
        rows.append(Row(f"× 2 to {one['edge']} × {one['edge']} in tiles, strength 0.15", figure, "", None))
    growth = large["peak_mb"] / small["peak_mb"]
    rows.append(Row("memory of nine times the pixels", f"{growth:.2f} × ", "≤ 1.25 ×", growth <= 1.25))
    return rows, raw


def strokes_of(seed: int, count: int = 200, points: int = 60) -> list[dict[str, Any]]:
    """Wandering brush strokes over the large picture, as the editor sends them."""
    rng = random.Random(seed)
    strokes: list[dict[str, Any]] = []
    for number in range(count):
        x, y, turn = rng.uniform(0, LARGE[0]), rng.uniform(0, LARGE[1]), rng.uniform(0, 6.28)
        path: list[float] = []
        for _ in range(points):
            turn += rng.uniform(-0.4, 0.4)
            x, y = x + 12 * math.cos(turn), y + 12 * math.sin(turn)
            path += [round(x, 1), round(y, 1)]
        strokes.append({"tool": "erase" if number % 10 == 9 else "brush", "size": rng.uniform(10, 120), "points": path, "is_erasing": False})
    return strokes


def accept_times(rounds: int) -> list[float]:
    """Seconds from the JSON of the strokes to a job in the journal. Each round has strokes of its own: nothing is kept from the last."""
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(Settings(data=Path(folder), worker="inline"))
        noise = np.random.default_rng(0).integers(0, 256, (LARGE[1] // 8, LARGE[0] // 8, 3), dtype=np.uint8)
        target = Path(folder) / "source.png"
        Image.fromarray(noise).resize(LARGE).save(target, compress_level=1)
        source = engine.add_input(target.read_bytes(), OWNER).hash
        for number in range(rounds):
            sent = json.dumps(strokes_of(number))
            start = time.perf_counter()
            mask = engine.add_mask(source, parse_strokes(json.loads(sent)), OWNER).hash
            engine.submit(parse_request({"mode": "inpaint", "prompt": "a castle", "source": source, "mask": mask}), OWNER)
            times.append(time.perf_counter() - start)
        engine.close()
    return times


def paste_times(rounds: int) -> dict[str, list[float]]:
    """Seconds of all that is not drawing: mask, crop, fill, resize and blend; and their share of the drawing itself."""
    painter = Painter()
    painter.load(STARTER)
    picture = np.random.default_rng(0).integers(0, 256, (LARGE[1], LARGE[0], 3), dtype=np.uint8)
    mask = np.zeros(picture.shape[:2], np.float32)
    mask[1000:1400, 2000:2500] = 1
    recipe = _recipe("inpaint", region="masked", padding=32, feather=8.0, is_soft=False, fill="neighbours", strength=0.9)
    text = _recipe("txt2img", strength=None, source=None)
    seconds: list[float] = []
    share: list[float] = []
    for number in range(rounds):
        start = time.perf_counter()
        plan = plan_repaint(recipe.model_copy(update={"seed": number}), picture, mask)
        put_back(plan, plan.part)
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        for _ in painter.paint(Work("bench", text.model_copy(update={"seed": number}), STARTER)):
            pass
        share.append(seconds[-1] / (time.perf_counter() - start))
    return {"seconds": seconds, "share": share}


def enlarge_in_its_own_process(edge: int) -> dict[str, float]:
    """A fresh process for each size: peak memory is of a process, not of a call."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.bench.pictures", str(edge)], capture_output=True, text=True, check=True, timeout=900
    )
    return json.loads(done.stdout.splitlines()[-1])


def _enlarge(edge: int) -> dict[str, float]:
    painter = Painter()
    painter.load(STARTER)
    recipe = _recipe("upscale", strength=0.15, factor=2, upscaler="lanczos", upscaler_hash="", overlap=64)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.png"
        slope = np.add.outer(np.arange(edge), np.arange(edge)) * 255 // (2 * edge)
        Image.fromarray(np.repeat(slope[..., None], 3, 2).astype(np.uint8)).save(source)
        tiles = 0
        start = time.perf_counter()
        for message in painter.paint(Work("bench", recipe, STARTER, inputs={recipe.source or "": source})):
            tiles = max(tiles, getattr(message, "tiles", 0))
            assert not isinstance(message, Pixels) or message.width == 2 * edge
        seconds = time.perf_counter() - start
    return {"edge": 2 * edge, "megapixels": (2 * edge) ** 2 / 1e6, "seconds": seconds, "tiles": tiles, "peak_mb": peak_mb()}


def _recipe(mode: str, **more: Any) -> Recipe:
    return recipe(20, 1, mode=mode, **{"source": "0" * 64, **more})


if __name__ == "__main__":
    from engine.diffusion.libraries import prepare_libraries

    prepare_libraries()
    print(json.dumps(_enlarge(int(sys.argv[1]))))
