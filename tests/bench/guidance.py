"""Rows about guidance: what a step of each style costs beside one of plain CFG, on the starter."""

from __future__ import annotations

import random
import statistics
import time

from engine import GUIDANCE_FACTS, GUIDANCE_LABELS, PERTURBED_DEFAULT, SCORE_LABELS
from engine.contract.recipe import Recipe
from engine.contract.work import Work
from engine.diffusion.painter import Painter
from tests.bench.row import Row
from tests.bench.runs import recipe
from tests.conftest import STARTER

_STEPS = 6
_PLAIN = "CFG"


def guidance_rows(rounds: int) -> tuple[list[Row], dict[str, list[float]]]:
    times = step_times(rounds)
    rows: list[Row] = []
    for label, seconds in times.items():
        ratio = statistics.median(one / plain for one, plain in zip(seconds, times[_PLAIN], strict=True))
        rows.append(Row(f"a step of {label} / one of plain CFG", f"{ratio:.2f} ({statistics.median(seconds) * 1000:.0f} ms)", "", None))
    return rows, times


def step_times(rounds: int) -> dict[str, list[float]]:
    """Seconds a step of whole pictures, decoding included, in shuffled order."""
    painter = Painter(device="auto", previews=False)
    recipes = contestants()
    times: dict[str, list[float]] = {label: [] for label in recipes}
    for number in range(rounds + 1):
        for label in random.sample(sorted(recipes), len(recipes)):
            start = time.perf_counter()
            for _ in painter.paint(Work("bench", recipes[label].model_copy(update={"seed": number}), STARTER)):
                pass
            # The first round loads the model and warms everything up.
            if number:
                times[label].append((time.perf_counter() - start) / _STEPS)
    return times


def contestants() -> dict[str, Recipe]:
    plain = recipe(_STEPS)
    recipes = {"the words alone": plain.model_copy(update={"guidance_scale": 1.0})}
    for style, facts in GUIDANCE_FACTS.items():
        own = {"guidance_style": None if style == "cfg" else style, "perturbed_scale": PERTURBED_DEFAULT if facts.needs_attention else None}
        recipes[GUIDANCE_LABELS[style]] = plain.model_copy(update=own)
    recipes["CFG, rescaled"] = plain.model_copy(update={"guidance_rescale": 0.7})
    recipes["CFG, half of the steps"] = plain.model_copy(update={"guidance_end": 0.5})
    recipes[SCORE_LABELS["clip"]] = plain.model_copy(update={"score_guidance": "clip", "score_scale": 100.0})
    return recipes
