"""The decoder's training on a tiny scale: the subject gets better, a resumed run is the same run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

from engine.starter import crops as crops_module
from engine.starter import walked as walked_module
from engine.starter.autoencoder import build_autoencoder, fit_basis, to_tensor
from engine.starter.dataset import draw_dataset, draw_masks
from engine.starter.decoder import CHECKPOINT, CURVE, DecoderPlan, train_decoder
from engine.starter.walked import LATENTS, ROWS, walk_scenes
from tests.conftest import STARTER

PLAN = DecoderPlan(steps=6, batch=4, crop=64, compiled=False)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    draw_dataset(tmp_path, count=12, seed=4, is_wide=True, workers=2)
    draw_masks(tmp_path, seed=4, is_wide=True, workers=2)
    return tmp_path


def small(work: Path) -> AutoencoderTiny:
    torch.manual_seed(0)
    return build_autoencoder(fit_basis(np.load(work / "scenes.npy")), blocks=(1, 1, 1, 1))


def test_masks_are_those_of_the_scenes(work: Path) -> None:
    scenes, masks = np.load(work / "scenes.npy"), np.load(work / "masks.npy")
    assert masks.shape == scenes.shape[:3]
    assert all(0.002 < (mask > 127).mean() < 0.6 for mask in masks)
    # A subject stands out from what is around it: its outline lies on edges of the picture.
    for scene, mask in zip(scenes[1:6], masks[1:6], strict=True):
        steps = np.abs(np.diff(scene.astype(np.float32).mean(2), axis=1))
        outline = np.abs(np.diff((mask > 127).astype(np.int8), axis=1)) > 0
        assert steps[outline].mean() > 2 * steps[~outline].mean()


def test_training_makes_it_better_and_leaves_the_encoder(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops_module, "KEPT_BACK", 4)
    vae = small(work)
    encoder = [parameter.clone() for parameter in vae.encoder.parameters()]
    train_decoder(vae, work, replace(PLAN, steps=120, say_every=60))
    lines = [json.loads(line) for line in (work / CURVE).read_text().splitlines()]
    print("after 60 and 120 steps, dB of all and of subjects:", [(line["psnr"], line["subject_psnr"]) for line in lines])
    assert lines[1]["loss"] < 0.9 * lines[0]["loss"]
    assert lines[1]["psnr"] > lines[0]["psnr"] + 0.3
    assert lines[1]["subject_psnr"] > lines[0]["subject_psnr"] + 0.3
    assert all(torch.equal(one, two) for one, two in zip(encoder, vae.encoder.parameters(), strict=True))


def test_what_the_denoiser_left_is_learned_too(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (crops_module, walked_module):
        monkeypatch.setattr(module, "KEPT_BACK", 2)
    walk_scenes(STARTER, work, count=8, seed=3, compiled=False)
    rows, walked = np.load(work / ROWS), np.load(work / LATENTS)
    scenes = np.load(work / "scenes.npy")[rows]
    vae = AutoencoderTiny.from_pretrained(STARTER / "vae", torch_dtype=torch.float32).eval()
    met = torch.from_numpy(walked.astype(np.float32))
    with torch.no_grad():
        apart = (met - vae.encoder(to_tensor(scenes))).square().mean((1, 2, 3)).sqrt()
    print("walked latents differ by", [round(float(one), 2) for one in apart], "of a spread of", round(float(met.std()), 2))
    # Another drawing of the same scene: not the same, and far nearer than another scene.
    assert float(apart.min()) > 0.02
    assert float(apart.max()) < float((met - met.roll(1, 0)).square().mean().sqrt())
    train_decoder(small(work), work, replace(PLAN, steps=40, say_every=20, walked_share=0.5))
    lines = [json.loads(line) for line in (work / CURVE).read_text().splitlines()]
    assert lines[1]["walked_subject_psnr"] > lines[0]["walked_subject_psnr"]


def test_a_resumed_run_is_the_same_run(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops_module, "KEPT_BACK", 4)
    pixels = to_tensor(np.load(work / "scenes.npy")[:1])
    whole = train_decoder(small(work), work, PLAN)
    (work / CHECKPOINT).unlink()
    train_decoder(small(work), work, replace(PLAN, steps=2))
    resumed = train_decoder(small(work), work, PLAN)
    with torch.no_grad():
        assert torch.equal(resumed.decoder(resumed.encoder(pixels)), whole.decoder(whole.encoder(pixels)))
