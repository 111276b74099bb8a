"""The starter's IP-Adapter: learnt by our own code, in the layout that diffusers reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.starter.attributes import SceneLabels
from engine.starter.course import Course, follow
from engine.starter.evaluate_reference import load_with_adapter
from engine.starter.lora import encode
from engine.starter.reference import ReferencePlan, Student, picture_embeds
from engine.starter.scenes import draw
from engine.starter.views import reduced
from tests.conftest import STARTER

LABELS = [
    SceneLabels("castle", "hills", "day", "red"), SceneLabels("ship", "sea", "night", "white"), SceneLabels("balloon", "desert", "sunset", "blue"),
    SceneLabels("tree", "alien planet", "dawn", "green"),
]  # fmt: skip


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scenes, their latents and labels, as a folder of training data."""
    folder = tmp_path_factory.mktemp("scenes")
    pictures = np.stack([draw(one, seed=k).image for k, one in enumerate(LABELS)])
    np.save(folder / "scenes.npy", pictures)
    np.save(folder / "latents-256.npy", encode(STARTER, pictures).half().numpy())
    (folder / "labels.jsonl").write_text("\n".join(json.dumps({**one.to_plain(), "is_degraded": False}) for one in LABELS))
    return folder


def embeds_of(pictures: np.ndarray) -> torch.Tensor:
    return picture_embeds(STARTER, np.stack([reduced(one) for one in pictures]))


def test_it_learns_and_diffusers_reads_it(scenes: Path, tmp_path: Path) -> None:
    embeds = embeds_of(np.load(scenes / "scenes.npy"))
    plan = replace(ReferencePlan(), batch=4, without_words=1.0)
    pupil = Student(STARTER, scenes, embeds, plan, seed=1)
    follow(Course(steps=24, learning_rate=1e-3, warm_up=3, say_every=8), pupil.weights, pupil.loss, tmp_path / "reference.pt")
    losses = [json.loads(line)["loss"] for line in (tmp_path / "reference.jsonl").read_text().splitlines()]
    print("mean loss of each eight steps:", losses)
    assert losses[-1] < 0.95 * losses[0]
    pupil.save(tmp_path / "own.safetensors")
    pipe = load_with_adapter(STARTER, tmp_path / "own.safetensors")
    # What the pipeline runs is what was learnt: the same answer to the same question.
    sample, told = torch.randn(1, 8, 32, 32), {"image_embeds": [embeds[:1, None]]}
    words = torch.zeros(1, 77, 256)
    with torch.no_grad():
        ours = pupil.unet(sample, 500, encoder_hidden_states=words, added_cond_kwargs=told).sample
        theirs = pipe.unet.float()(sample, 500, encoder_hidden_states=words, added_cond_kwargs=told).sample
    assert float((ours - theirs).abs().mean()) < 0.02 * float(ours.abs().mean())
