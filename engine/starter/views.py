"""What the scorer learns to see: every scene small, and scenes as the denoiser imagines them on its way out of the noise."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.starter.attributes import SceneLabels
from engine.starter.dataset import load_dataset
from engine.starter.evaluate import full_caption
from engine.starter.text_encoder import tokenize

EDGE = 128
_BLOCK = 16
_GUIDANCE = 4.0


@dataclass(frozen=True)
class Views:
    """scenes (N, 128, 128, 3) and imagined (M, 128, 128, 3) uint8; `rows` (M) says which scene each imagined picture is of."""

    scenes: NDArray[np.uint8]
    imagined: NDArray[np.uint8]
    rows: NDArray[np.int64]
    labels: list[SceneLabels]


def load_views(scenes: Path, work: Path, model: Path, *, imagined: int, seed: int = 4) -> Views:
    """The views kept in `work`; made from the drawn scenes and latents in `scenes` where they are missing."""
    images, labels, _ = load_dataset(scenes)
    work.mkdir(parents=True, exist_ok=True)
    if not (small := work / f"scenes-{EDGE}.npy").exists():
        _keep(small, np.stack([reduced(image) for image in images]))
    if not (dreamt := work / f"imagined-{EDGE}.npz").exists():
        latents = np.load(scenes / "latents-256.npy", mmap_mode="r")
        rows = np.random.default_rng(seed).integers(0, len(labels), imagined)
        _keep(dreamt, {"pictures": imagine(model, latents, labels, rows, seed=seed), "rows": rows})
    kept = np.load(dreamt)
    return Views(np.load(small, mmap_mode="r"), kept["pictures"], kept["rows"], labels)


def reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (EDGE, EDGE), interpolation=cv2.INTER_AREA), np.uint8)


def imagine(model: Path, latents: NDArray[np.floating], labels: list[SceneLabels], rows: NDArray[np.int64], *, seed: int) -> NDArray[np.uint8]:
    """(M, 128, 128, 3): the clean picture that the denoiser predicts for the latents of each row, at any noise level.

    One in five is not noised at all: the picture through the autoencoder. Half of the others are guided. The caption states
    everything, so that what noise has hidden comes back as the labels say.
    """
    from engine.starter.grid import load_pipeline

    pipe: Any = load_pipeline(model)
    alphas = pipe.scheduler.alphas_cumprod
    chance = torch.Generator().manual_seed(seed)
    made: list[NDArray[np.uint8]] = []
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        clean = torch.from_numpy(np.stack([latents[row] for row in block]).astype(np.float32))
        timesteps = torch.randint(50, 1000, (len(block),), generator=chance)
        texts = [full_caption(labels[int(row)]) for row in block]
        guidance = torch.where(torch.rand(len(block), generator=chance) < 0.5, _GUIDANCE, 1.0)
        is_plain = torch.rand(len(block), generator=chance) < 0.2
        with torch.inference_mode():
            guessed = predict_clean(pipe, clean, timesteps, alphas, texts, guidance, torch.randn(clean.shape, generator=chance))
            guessed = torch.where(is_plain.view(-1, 1, 1, 1), clean, guessed)
            pixels = pipe.vae.decode(guessed.to(pipe.vae.dtype) / pipe.vae.config.scaling_factor).sample.float()
        levels = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
        made += [reduced(picture) for picture in levels]
        if start % 512 == 0:
            print(f"imagined {start + len(block)}/{len(rows)}", flush=True)
    return np.stack(made)


def predict_clean(pipe: Any, clean: torch.Tensor, timesteps: torch.Tensor, alphas: torch.Tensor, texts: list[str], guidance: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:  # fmt: skip
    """(B, 8, h, w) float32: noise the latents, then x₀ = α·x − σ·v (Salimans & Ho 2022, appendix D), guided by `guidance` (B)."""
    alpha = alphas[timesteps].sqrt().view(-1, 1, 1, 1)
    sigma = (1 - alphas[timesteps]).sqrt().view(-1, 1, 1, 1)
    sample = alpha * clean + sigma * noise
    states = pipe.text_encoder(tokenize(pipe.tokenizer, [*texts, *[""] * len(texts)])).last_hidden_state
    both = torch.cat([sample, sample]).to(pipe.unet.dtype)
    told, untold = pipe.unet(both, torch.cat([timesteps, timesteps]), encoder_hidden_states=states).sample.float().chunk(2)
    velocity = untold + guidance.view(-1, 1, 1, 1) * (told - untold)
    return alpha * sample - sigma * velocity


def _keep(path: Path, content: Any) -> None:
    """Written aside first: a file under its own name is whole."""
    aside = path.with_suffix(".part")
    with aside.open("wb") as file:
        if isinstance(content, dict):
            np.savez(file, **content)
        else:
            np.save(file, content)
    os.replace(aside, path)
