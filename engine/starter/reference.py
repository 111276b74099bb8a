"""The starter's IP-Adapter, a picture as a prompt: `python -m engine.starter.reference`. Resumes where it stopped."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from numpy.typing import NDArray
from safetensors.torch import save
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from engine.contract.errors import DamagedFile
from engine.starter.captions import caption
from engine.starter.course import Course, chance, follow
from engine.starter.dataset import load_dataset
from engine.starter.text_encoder import tokenize
from engine.starter.unet import SCHEDULE, noisy

TOKENS = 4
_BLOCK = 64


@dataclass(frozen=True)
class ReferencePlan:
    """Words and picture are left out now and then, words often: what they do not say the picture has to."""

    batch: int = 8
    without_words: float = 0.5
    without_picture: float = 0.1


class Student:
    """The frozen UNet with diffusers' own IP-Adapter layers (Ye et al. 2023, section 3.2): four image tokens, their own keys and values."""

    def __init__(self, model: Path, scenes: Path, embeds: torch.Tensor, plan: ReferencePlan, seed: int) -> None:
        self._plan, self._seed, self._embeds = plan, seed, embeds
        self._latents = np.load(scenes / "latents-256.npy", mmap_mode="r")
        _, self._labels, degraded = load_dataset(scenes)
        self._rows = np.flatnonzero(~degraded[: len(embeds)])
        torch.manual_seed(seed)
        self.unet: Any = UNet2DConditionModel.from_pretrained(model / "unet", torch_dtype=torch.float32, local_files_only=True)
        self.unet.requires_grad_(False)
        self.unet._load_ip_adapter_weights([fresh_state(self.unet, embeds.shape[1])])
        self.weights: list[torch.nn.Parameter] = [
            *self.unet.encoder_hid_proj.parameters(),
            *(p for layer in ip_layers(self.unet) for p in layer.parameters()),
        ]
        for weight in self.weights:
            weight.requires_grad_(True)
        self._tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
        self._text_encoder: Any = CLIPTextModel.from_pretrained(model / "text_encoder", dtype=torch.bfloat16).eval()
        self._alphas = DDIMScheduler(**SCHEDULE).alphas_cumprod

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        """The denoiser's own objective on a scene, told by its picture and sometimes its words."""
        rng, generator = chance(self._seed, step)
        rows = rng.choice(self._rows, self._plan.batch)
        texts = ["" if rng.random() < self._plan.without_words else caption(self._labels[row], rng) for row in rows]
        with torch.no_grad():
            words = self._text_encoder(tokenize(self._tokenizer, texts)).last_hidden_state
        pictures = self._embeds[rows] * torch.from_numpy(rng.random((len(rows), 1)) >= self._plan.without_picture)
        latents = torch.from_numpy(np.stack([self._latents[row] for row in rows]).astype(np.float32))
        timesteps = ((torch.arange(len(rows)) + torch.rand((), generator=generator)) / len(rows) * 1000).long().clamp(0, 999)
        sample, goal = noisy(latents, torch.randn(latents.shape, generator=generator), self._alphas, timesteps)
        with torch.autocast("cpu", torch.bfloat16):
            told = {"image_embeds": [pictures[:, None]]}
            answer = self.unet(sample, timesteps, encoder_hidden_states=words, added_cond_kwargs=told, return_dict=False)[0]
        return (answer.float() - goal).square().mean(), {}

    def save(self, path: Path) -> None:
        """The layout of IP-Adapter files: `image_proj.…`, and `ip_adapter.1.to_k_ip.weight` with odd numbers in the order of the layers."""
        projection = self.unet.encoder_hid_proj.image_projection_layers[0]
        state = {"image_proj.proj.weight": projection.image_embeds.weight, "image_proj.proj.bias": projection.image_embeds.bias}
        state |= {"image_proj.norm.weight": projection.norm.weight, "image_proj.norm.bias": projection.norm.bias}
        for number, layer in enumerate(ip_layers(self.unet)):
            for kind in ("to_k_ip", "to_v_ip"):
                state[f"ip_adapter.{2 * number + 1}.{kind}.weight"] = getattr(layer, kind)[0].weight
        facts = {"title": "Starter: a picture as a prompt", "image_encoder": "image_encoder of the starter", "licence": "Apache-2.0", "format": "pt"}
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part")
        aside.write_bytes(save({name: value.detach().half().contiguous() for name, value in state.items()}, metadata=facts))
        os.replace(aside, path)


def ip_layers(unet: Any) -> list[Any]:
    """The processors with keys and values of their own, in the order in which files number them."""
    return [layer for layer in unet.attn_processors.values() if hasattr(layer, "to_k_ip")]


def fresh_state(unet: Any, embed_width: int) -> dict[str, dict[str, torch.Tensor]]:
    """An untrained adapter: keys and values begin as those for words."""
    width = int(unet.config.cross_attention_dim)
    projection = torch.nn.Linear(embed_width, TOKENS * width)
    first = {
        "proj.weight": projection.weight.detach(),
        "proj.bias": projection.bias.detach(),
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
    }
    words = [name for name in unet.attn_processors if "attn2" in name]
    own: dict[str, torch.Tensor] = {}
    for number, name in enumerate(words):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        own[f"{2 * number + 1}.to_k_ip.weight"] = attention.to_k.weight.detach().clone()
        own[f"{2 * number + 1}.to_v_ip.weight"] = attention.to_v.weight.detach().clone()
    return {"image_proj": first, "ip_adapter": own}


def picture_embeds(model: Path, pictures: NDArray[np.uint8]) -> torch.Tensor:
    """(N, 128, 128, 3) uint8 → (N, D) float32, as diffusers hands them to an adapter: projected, not normalised."""
    tower: Any = CLIPVisionModelWithProjection.from_pretrained(model / "image_encoder", dtype=torch.float32, local_files_only=True).eval()
    made: list[torch.Tensor] = []
    for start in range(0, len(pictures), _BLOCK):
        pixels = torch.from_numpy(np.asarray(pictures[start : start + _BLOCK])).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            made.append(tower(pixels).image_embeds.float())
    return torch.cat(made)


def load_embeds(model: Path, views: Path, work: Path) -> torch.Tensor:
    """Embeddings of all small scenes in `views`, kept in `work` until the tower changes."""
    work.mkdir(parents=True, exist_ok=True)
    path, tower = work / "embeds.pt", (model / "image_encoder" / "model.safetensors").stat()
    stamp = [tower.st_size, tower.st_mtime_ns]
    if path.exists() and (kept := torch.load(path, weights_only=True))["stamp"] == stamp:
        return kept["embeds"]
    embeds = picture_embeds(model, np.load(views / "scenes-128.npy", mmap_mode="r"))
    torch.save({"embeds": embeds, "stamp": stamp}, aside := path.with_suffix(".part"))
    os.replace(aside, path)
    return embeds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.reference", description=__doc__)
    parser.add_argument("--minutes", type=float, default=25, help="of training, all runs together")
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"))
    parser.add_argument("--scenes", type=Path, default=Path("data/starter-v2"), help="folder with the drawn scenes and their latents")
    parser.add_argument("--views", type=Path, default=Path("data/scorer"), help="folder with the small scenes, made by the scorer's training")
    parser.add_argument("--work", type=Path, default=Path("data/reference"), help="folder for embeddings and checkpoints")
    parser.add_argument("--out", type=Path, default=Path("presets/ip_adapters/starter.safetensors"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    course = Course(minutes=options.minutes, learning_rate=1e-3, cooldown=0.6)
    try:
        student = Student(options.model, options.scenes, load_embeds(options.model, options.views, options.work), ReferencePlan(), course.seed)
        follow(course, student.weights, student.loss, options.work / "reference.pt")
    except DamagedFile as error:
        print(error, file=sys.stderr)
        return 1
    student.save(options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
