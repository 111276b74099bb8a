"""The few-step LoRA: walks are kept, it learns where they end, it loads like any other, and it beats the base at as many model calls."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from engine.contract.recipe import Recipe
from engine.diffusion.adapters import AdapterShelf, Lora
from engine.diffusion.latents import decode
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.scorer import load_scorer
from engine.diffusion.text import PromptEncoder
from engine.library.loras import BUNDLED_LORAS, read_card
from engine.starter.course import Course, follow
from engine.starter.fewsteps import FewStepsPlan, Shortcut
from engine.starter.trajectories import STEPS, Teacher, Walks, load_walks
from tests.conftest import STARTER

FILE = BUNDLED_LORAS / "starter-fewsteps.safetensors"
PROMPTS = ("a red castle on green hills by day", "a yellow balloon in the mountains at sunset", "a blue ship at sea at night", "a green tree in the desert by day",
           "a white tower at sunset", "a pink house on green hills at dawn")  # fmt: skip


@pytest.fixture(scope="module")
def components() -> Components:
    return load_components(STARTER, device=torch.device("cpu"), dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def walks() -> Walks:
    captions = ["a red castle", "a blue ship at sea"]
    latents, timesteps = Teacher(STARTER).walk(captions, torch.Generator().manual_seed(1))
    return Walks(latents, timesteps, captions)


def scores(components: Components, *, lora: bool, steps: int, guidance: float, scheduler: str) -> NDArray[np.float32]:
    """How well each prompt's picture fits its words."""
    scorer = load_scorer(STARTER, device=torch.device("cpu"))
    found: list[float] = []
    with AdapterShelf().applied(components, (Lora(FILE, 1.0),) if lora else ()):
        for seed, prompt in enumerate(PROMPTS):
            recipe = Recipe.model_validate({
                "model": "starter", "model_hash": "", "prompt": prompt, "negative_prompt": "", "steps": steps, "guidance_scale": guidance,
                "scheduler": scheduler, "width": 256, "height": 256, "seed": seed, "count": 1,
            })  # fmt: skip
            *_, last = text_to_image(components, PromptEncoder(components), recipe)
            with torch.inference_mode():
                found.append(float(scorer.score(decode(components, last.latents).float(), [prompt])))
    return np.array(found, np.float32)


def test_the_bundled_file_says_how_it_wants_to_be_used() -> None:
    card = read_card(FILE)
    print(card.title, card.bytes_on_disk)
    assert card.refusal is None
    assert card.made_for == "the starter"
    assert card.bytes_on_disk <= 1_700_000
    with safe_open(FILE, "pt") as file:
        facts = file.metadata()
    assert {name: facts[name] for name in ("kind", "sampler", "steps", "guidance")} == {
        "kind": "few steps", "sampler": "lcm", "steps": "4-8", "guidance": "1",
    }  # fmt: skip


def test_four_calls_with_it_are_better_than_four_without(components: Components) -> None:
    ours = scores(components, lora=True, steps=4, guidance=1.0, scheduler="lcm")
    base = scores(components, lora=False, steps=2, guidance=4.0, scheduler="dpmpp_2m")
    print(f"with {ours.mean():.3f} {ours.round(2)}, without {base.mean():.3f} {base.round(2)}")
    assert ours.mean() > base.mean()


def test_a_walk_starts_in_noise_and_ends_where_the_pipeline_does(walks: Walks) -> None:
    assert walks.latents.shape == (2, STEPS + 1, 8, 32, 32)
    assert len(walks.timesteps) == STEPS
    assert list(walks.timesteps) == sorted(walks.timesteps, reverse=True)
    assert abs(float(walks.latents[:, 0].astype(np.float32).std()) - 1) < 0.05


def test_walks_are_kept(tmp_path: Path) -> None:
    first = load_walks(STARTER, tmp_path, count=1)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = load_walks(STARTER, tmp_path, count=1)
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert first.captions == again.captions
    assert np.array_equal(first.latents, again.latents)


def test_it_learns_where_walks_end_and_loads(walks: Walks, components: Components, tmp_path: Path) -> None:
    pupil = Shortcut(STARTER, walks, replace(FewStepsPlan(), rank=4, batch=4), seed=1)
    follow(Course(steps=24, learning_rate=2e-3, warm_up=3, say_every=8), pupil.weights, pupil.loss, tmp_path / "fewsteps.pt")
    losses = [json.loads(line)["loss"] for line in (tmp_path / "fewsteps.jsonl").read_text().splitlines()]
    print("mean loss of each eight steps:", losses)
    assert losses[-1] < 0.95 * losses[0]
    pupil.save(tmp_path / "own.safetensors")
    with AdapterShelf().applied(components, (Lora(tmp_path / "own.safetensors", 1.0),)):
        assert any("lora" in name for name, _ in components.unet.named_parameters())
