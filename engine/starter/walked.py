"""Latents as the denoiser leaves them, beside the scenes that they should be: what the decoder meets in use and clean latents never show.

A drawn scene is noised part of the way and walked back under its caption; even a short walk loses outlines that stay where they were.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from transformers import CLIPTextModel, CLIPTokenizer

from engine.starter.attributes import SceneLabels
from engine.starter.autoencoder import to_tensor
from engine.starter.captions import caption
from engine.starter.dataset import KEPT_BACK
from engine.starter.text_encoder import tokenize

LATENTS, ROWS = "walked.npy", "walked-rows.npy"
_STEPS = 12
# How many of the twelve steps are walked: from a touch to most of the way.
_WALKED = (2, 3, 4, 5, 6, 8)
_GUIDANCE = 4.0
_BATCH = 8


def walk_scenes(model: Path, work: Path, *, count: int, seed: int, compiled: bool = True) -> None:
    """Write `walked.npy` (count, 8, h, w) float16, as the decoder takes them, and `walked-rows.npy`, the scene of each.

    Goes on where it was stopped; a finished set is left alone. `model` is the folder whose denoiser walks.
    """
    aside, target = work / "walked.part.npy", work / LATENTS
    if target.exists():
        return
    lines = [json.loads(line) for line in (work / "labels.jsonl").read_text(encoding="utf-8").splitlines()]
    clean = np.array([number for number, line in enumerate(lines) if not line.pop("is_degraded")])
    scenes = np.load(work / "scenes.npy", mmap_mode="r")
    rows = np.random.default_rng(seed).permutation(clean[:-KEPT_BACK])[:count]
    shape = (len(rows), 8, scenes.shape[1] // 8, scenes.shape[2] // 8)
    latents = (
        np.lib.format.open_memmap(aside, mode="r+") if aside.exists() else np.lib.format.open_memmap(aside, mode="w+", dtype=np.float16, shape=shape)
    )
    walker = _Walker(model, compiled=compiled)
    started, fresh = time.monotonic(), 0
    for number, start in enumerate(range(0, len(rows), _BATCH)):
        if latents[start].any():
            continue
        chosen = rows[start : start + _BATCH]
        rng = np.random.default_rng([seed, start])
        words = [caption(SceneLabels(**lines[row]), rng) for row in chosen]
        pixels = to_tensor(np.stack([scenes[row] for row in chosen]))
        latents[start : start + len(chosen)] = walker.walk(pixels, words, steps=_WALKED[number % len(_WALKED)], seed=start).numpy()
        fresh += len(chosen)
        if number % 20 == 0:
            print(f"walked {start + len(chosen)}/{len(rows)}, {fresh / (time.monotonic() - started):.1f} a second", flush=True)
    latents.flush()
    np.save(work / ROWS, rows)
    aside.rename(target)


class _Walker:
    def __init__(self, model: Path, *, compiled: bool) -> None:
        unet: Any = UNet2DConditionModel.from_pretrained(model / "unet", torch_dtype=torch.bfloat16, use_safetensors=True, local_files_only=True)
        unet = unet.eval().to(memory_format=torch.channels_last)
        self._unet: Any = torch.compile(unet) if compiled else unet
        self._vae: Any = AutoencoderTiny.from_pretrained(model / "vae", torch_dtype=torch.float32)
        self._tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
        self._encoder: Any = CLIPTextModel.from_pretrained(model / "text_encoder", dtype=torch.bfloat16).eval()
        self._model = model

    @torch.no_grad()
    def walk(self, pixels: torch.Tensor, words: list[str], *, steps: int, seed: int) -> torch.Tensor:
        """(B, 3, H, W) in [-1, 1] → (B, 8, H/8, W/8): noised to the last `steps` of twelve and denoised again, guided."""
        scale = float(self._vae.config.scaling_factor)
        embeds = self._encoder(tokenize(self._tokenizer, [""] * len(words) + words)).last_hidden_state
        scheduler: Any = DPMSolverMultistepScheduler.from_pretrained(self._model / "scheduler")
        scheduler.set_timesteps(_STEPS)
        scheduler.set_begin_index(_STEPS - steps)
        latents = self._vae.encoder(pixels) * scale
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
        latents = scheduler.add_noise(latents, noise, scheduler.timesteps[_STEPS - steps :][:1])
        for timestep in scheduler.timesteps[_STEPS - steps :]:
            both = torch.cat([latents, latents]).to(torch.bfloat16, memory_format=torch.channels_last)
            without, with_words = self._unet(both, timestep, encoder_hidden_states=embeds, return_dict=False)[0].float().chunk(2)
            latents = scheduler.step(without + _GUIDANCE * (with_words - without), timestep, latents, return_dict=False)[0]
        return latents / scale
