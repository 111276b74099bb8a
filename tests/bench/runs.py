"""What runs against what: one recipe, the bare library, our engine in this process, and the races between them."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from engine.contract.recipe import Recipe
from engine.contract.work import Pixels, Work
from engine.diffusion.painter import Painter
from tests.conftest import STARTER

Run = Callable[[Recipe], None]
Key = TypeVar("Key", bound=Hashable)


def recipe(steps: int = 20, seed: int = 0, **fields: Any) -> Recipe:
    """What every row draws, unless it says otherwise: 256 × 256, guided."""
    values = {
        "model": "starter", "model_hash": "", "prompt": "a red castle at sunset", "negative_prompt": "blurry", "guidance_scale": 4.0,
        "scheduler": "dpmpp_2m", "width": 256, "height": 256, "count": 1,
    }  # fmt: skip
    return Recipe(**{**values, "steps": steps, "seed": seed, **fields})


def bare_pipeline(dtype: torch.dtype) -> Run:
    """Stock diffusers on the same weights, as its own documentation would run it."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    pipe: Any = StableDiffusionPipeline.from_pretrained(STARTER, safety_checker=None, torch_dtype=dtype, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)

    def run(asked: Recipe) -> None:
        pipe(
            [asked.prompt] * asked.count,
            negative_prompt=[asked.negative_prompt] * asked.count,
            num_inference_steps=asked.steps,
            guidance_scale=asked.guidance_scale,
            width=asked.width,
            height=asked.height,
            generator=[torch.Generator().manual_seed(asked.seed + number) for number in range(asked.count)],
        )

    return run


def ready_painter(*, previews: bool = True, dtype: str = "auto") -> Painter:
    painter = Painter(device="auto", dtype=dtype, previews=previews)
    painter.load(STARTER)
    return painter


def ours(painter: Painter) -> Run:
    def run(asked: Recipe) -> None:
        for _ in painter.paint(Work("bench", asked, STARTER)):
            pass

    return run


def picture_hash(painter: Painter, asked: Recipe, folder: Path = STARTER) -> str:
    """Twelve digits of the SHA-256 of the bytes of the last picture: what was timed really was drawn, and the same as last time."""
    last = [message for message in painter.paint(Work("bench", asked, folder)) if isinstance(message, Pixels)][-1]
    return hashlib.sha256(last.rgb).hexdigest()[:12]


def race(contestants: Mapping[Key, Callable[[int], object]], rounds: int) -> dict[Key, list[float]]:
    """Seconds of each contestant in each round, the order shuffled anew each time. Round 0 warms up and is not kept; a contestant is told its round."""
    times: dict[Key, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name in random.sample(list(contestants), len(contestants)):
            start = time.perf_counter()
            contestants[name](number)
            if number:
                times[name].append(time.perf_counter() - start)
    return times
