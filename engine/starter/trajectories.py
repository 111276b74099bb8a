"""Whole walks of the starter from noise to picture, kept to learn short ways from: where it was at each step, and where it ended."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from numpy.typing import NDArray
from transformers import CLIPTextModel, CLIPTokenizer

from engine.starter.attributes import random_labels
from engine.starter.captions import caption
from engine.starter.text_encoder import tokenize

_CHUNK = 16
STEPS, GUIDANCE = 20, 4.0


@dataclass(frozen=True)
class Walks:
    """latents (N, 21, 8, 32, 32) float16, pure noise first, the clean picture last; timesteps (20); captions (N)."""

    latents: NDArray[np.float16]
    timesteps: NDArray[np.int64]
    captions: list[str]


class Teacher:
    """The bundled denoiser under its default settings: DPM++ 2M, 20 steps, guidance 4."""

    def __init__(self, model: Path) -> None:
        unet: Any = UNet2DConditionModel.from_pretrained(model / "unet", torch_dtype=torch.bfloat16, local_files_only=True)
        self._unet: Any = unet.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self._scheduler: Any = DPMSolverMultistepScheduler.from_pretrained(model / "scheduler")
        self._tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
        self._text_encoder: Any = CLIPTextModel.from_pretrained(model / "text_encoder", dtype=torch.bfloat16).eval()

    @torch.no_grad()
    def walk(self, captions: list[str], generator: torch.Generator) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        """(B, 21, 8, 32, 32) float16 and the (20) timesteps."""
        states = self._text_encoder(tokenize(self._tokenizer, [*[""] * len(captions), *captions])).last_hidden_state
        self._scheduler.set_timesteps(STEPS)
        latents = torch.randn(len(captions), 8, 32, 32, generator=generator)
        places = [latents]
        for timestep in self._scheduler.timesteps:
            both = torch.cat([latents, latents]).to(torch.bfloat16, memory_format=torch.channels_last)
            untold, told = self._unet(both, timestep, encoder_hidden_states=states, return_dict=False)[0].float().chunk(2)
            latents = self._scheduler.step(untold + GUIDANCE * (told - untold), timestep, latents, return_dict=False)[0]
            places.append(latents)
        return torch.stack(places, 1).half().numpy(), self._scheduler.timesteps.numpy()


def load_walks(model: Path, work: Path, *, count: int, seed: int = 6) -> Walks:
    """The walks kept in `work`; missing ones are walked, in chunks that are kept as they come."""
    work.mkdir(parents=True, exist_ok=True)
    teacher: Teacher | None = None
    chunks: list[Any] = []
    for first in range(0, count, _CHUNK):
        path = work / f"walks-{seed}-{first:05d}.npz"
        if not path.exists():
            teacher = teacher or Teacher(model)
            rng = np.random.default_rng([seed, first])
            captions = [caption(random_labels(rng, is_wide=True), rng) for _ in range(_CHUNK)]
            latents, timesteps = teacher.walk(captions, torch.Generator().manual_seed(int(rng.integers(2**62))))
            with (aside := path.with_suffix(".part")).open("wb") as file:
                np.savez(file, latents=latents, timesteps=timesteps, captions=np.array(captions))
            os.replace(aside, path)
            if first % (_CHUNK * 10) == 0:
                print(f"walks {first + _CHUNK}/{count}", flush=True)
        chunks.append(np.load(path))
    latents = np.concatenate([chunk["latents"] for chunk in chunks])
    return Walks(latents, chunks[0]["timesteps"], [str(text) for chunk in chunks for text in chunk["captions"]])
