"""CLIP guidance on the starter: over the same words and seeds its score rises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.contract.recipe import Recipe
from engine.diffusion.latents import decode
from engine.diffusion.loading import load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.text import PromptEncoder
from engine.starter.attributes import random_labels
from engine.starter.evaluate import full_caption
from tests.conftest import STARTER

PICTURES = 16


@pytest.mark.slow
def test_clip_guidance_raises_its_score() -> None:
    components = load_components(STARTER, device=torch.device("cpu"), dtype=torch.bfloat16)
    prompts, scorer = PromptEncoder(components), components.scorer
    assert scorer is not None
    rng = np.random.default_rng(5)
    captions = [full_caption(random_labels(rng, is_wide=True)) for _ in range(PICTURES)]
    scores = np.zeros((2, PICTURES))
    for number, caption in enumerate(captions):
        plain = Recipe(
            model="starter", model_hash="", prompt=caption, negative_prompt="", steps=10, guidance_scale=4.0, scheduler="dpmpp_2m", width=128,
            height=128, seed=100 + number, count=1,
        )  # fmt: skip
        for row, asked in enumerate((plain, plain.model_copy(update={"score_guidance": "clip", "score_scale": 100.0}))):
            *_, last = text_to_image(components, prompts, asked)
            with torch.inference_mode():
                scores[row, number] = float(scorer.score(decode(components, last.latents).float().clamp(-1, 1), [caption]))
    gain = scores[1] - scores[0]
    error = gain.std(ddof=1) / PICTURES**0.5
    print(
        f"score {scores[0].mean():.3f} -> {scores[1].mean():.3f}, mean gain {gain.mean():+.4f} ± {error:.4f}, higher in {(gain > 0).sum()} of {PICTURES}"
    )
    assert gain.mean() > 5 * error
    assert (gain > 0).sum() >= PICTURES - 2
