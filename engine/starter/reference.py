"""The starter's IP-Adapter, a picture as a prompt: `python -m engine.starter.reference`. Resumes where it stopped."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, field
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
from engine.starter.course import Course, chance, follow
from engine.starter.dataset import load_dataset
from engine.starter.reference_lessons import Lesson, Mix, make_lesson
from engine.starter.reference_start import fit_projection, fresh_state, spoken_tokens
from engine.starter.text_encoder import tokenize
from engine.starter.unet import SCHEDULE, noisy

# Where this denoiser decides on place, light and palette, and on nothing of the subject: measured block by block.
STYLE_LAYERS = "up_blocks.2."
_BLOCK = 64
_FITTED_ON = 6_000


@dataclass(frozen=True)
class ReferencePlan:
    """`truth` is how far the goal lies from the teacher's answer towards the scene itself: what no caption says is only there.

    Timesteps are drawn as the `noise_power`-th power of an even chance: below 1, more of them are high, where the layout is decided.
    """

    batch: int = 8
    mix: Mix = field(default_factory=Mix)
    truth: float = 0.2
    noise_power: float = 0.5


class Student:
    """The frozen UNet with diffusers' own IP-Adapter layers (Ye et al. 2023, section 3.2), taught by the same UNet without them.

    The denoiser's own objective is mostly noise that nothing can foresee, and a small adapter drowns in it. The teacher's
    answer to the full caption has none of it: it is what the picture should make of the pupil's fewer words.
    """

    def __init__(self, model: Path, scenes: Path, embeds: torch.Tensor, plan: ReferencePlan, seed: int) -> None:
        self._plan, self._seed, self._embeds = plan, seed, embeds
        self._latents = np.load(scenes / "latents-256.npy", mmap_mode="r")
        _, self._labels, degraded = load_dataset(scenes)
        self._rows = np.flatnonzero(~degraded[: len(embeds)])
        self._tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
        self._text_encoder: Any = CLIPTextModel.from_pretrained(model / "text_encoder", dtype=torch.bfloat16).eval()
        self._alphas = DDIMScheduler(**SCHEDULE).alphas_cumprod
        self._teacher, self.unet = _frozen(model), _frozen(model)
        rows = np.random.default_rng(seed).permutation(self._rows)[:_FITTED_ON]
        tokens = spoken_tokens(self._text_encoder, self._tokenizer, [self._labels[row] for row in rows])
        self.unet._load_ip_adapter_weights([fresh_state(self.unet, *fit_projection(embeds[rows], tokens))])
        layers = ip_layers(self.unet)
        for part in (projection := self.unet.encoder_hid_proj.image_projection_layers[0], *layers):
            part.float()
        self.unet.requires_grad_(False)
        # The biases stay zero: no picture is no adapter.
        self.weights: list[torch.nn.Parameter] = [projection.image_embeds.weight, projection.norm.weight]
        self.weights += [weight for layer in layers for weight in layer.parameters()]
        for weight in self.weights:
            weight.requires_grad_(True)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Mean square distance to the teacher's velocity, and the share of it that the adapter has made up for (1 is all of it)."""
        rng, generator = chance(self._seed, step)
        lessons = [make_lesson(self._labels, self._rows, self._plan.mix, rng) for _ in range(self._plan.batch)]
        sample, timesteps, truth = self._noised(lessons, generator)
        with torch.no_grad():
            goal = self._teacher(sample, timesteps, encoder_hidden_states=self._told([one.goal for one in lessons]), return_dict=False)[0].float()
        far = self._plan.truth * torch.tensor([one.is_true for one in lessons]).float().view(-1, 1, 1, 1)
        pictures = self._embeds[[one.picture for one in lessons]][:, None]
        with torch.autocast("cpu", torch.bfloat16):
            told = {"image_embeds": [pictures]}
            words = self._told([one.words for one in lessons])
            answer = self.unet(sample, timesteps, encoder_hidden_states=words, added_cond_kwargs=told, return_dict=False)[0].float()
        taught = (answer.detach() - goal).square().mean().item()
        return (answer - torch.lerp(goal, truth, far)).square().mean(), {"taught": taught}

    def _noised(self, lessons: list[Lesson], generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, 8, h, w) bfloat16 grounds under noise, (B) timesteps that cover their range evenly, (B, 8, h, w) true velocities."""
        latents = torch.from_numpy(np.stack([self._latents[one.ground] for one in lessons]).astype(np.float32))
        even = (torch.randperm(len(lessons), generator=generator) + torch.rand((), generator=generator)) / len(lessons)
        timesteps = (1000 * even**self._plan.noise_power).long().clamp(0, 999)
        sample, truth = noisy(latents, torch.randn(latents.shape, generator=generator), self._alphas, timesteps)
        return sample.to(torch.bfloat16, memory_format=torch.channels_last), timesteps, truth

    @torch.no_grad()
    def _told(self, texts: list[str]) -> torch.Tensor:
        return self._text_encoder(tokenize(self._tokenizer, texts)).last_hidden_state

    def save(self, path: Path) -> None:
        """The layout of IP-Adapter files: `image_proj.…`, and `ip_adapter.1.to_k_ip.weight` with odd numbers in the order of the layers."""
        projection = self.unet.encoder_hid_proj.image_projection_layers[0]
        state = {"image_proj.proj.weight": projection.image_embeds.weight, "image_proj.proj.bias": projection.image_embeds.bias}
        state |= {"image_proj.norm.weight": projection.norm.weight, "image_proj.norm.bias": projection.norm.bias}
        for number, layer in enumerate(ip_layers(self.unet)):
            for kind in ("to_k_ip", "to_v_ip"):
                state[f"ip_adapter.{2 * number + 1}.{kind}.weight"] = getattr(layer, kind)[0].weight
        # "model" is the encoder in the model's own folder.
        facts = {
            "title": "Starter: a picture as a prompt",
            "image_encoder": "model",
            "licence": "Apache-2.0",
            "style_layers": STYLE_LAYERS,
            "format": "pt",
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part")
        aside.write_bytes(save({name: value.detach().half().contiguous() for name, value in state.items()}, metadata=facts))
        os.replace(aside, path)


def _frozen(model: Path) -> Any:
    unet: Any = UNet2DConditionModel.from_pretrained(model / "unet", torch_dtype=torch.bfloat16, local_files_only=True)
    return unet.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def ip_layers(unet: Any) -> list[Any]:
    """The processors with keys and values of their own, in the order in which files number them."""
    return [layer for layer in unet.attn_processors.values() if hasattr(layer, "to_k_ip")]


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
    parser.add_argument(
        "--truth", type=float, default=ReferencePlan.truth, help="0 to 1: how much is learnt from the scenes, the rest from the teacher"
    )
    parser.add_argument("--out", type=Path, default=Path("presets/ip_adapters/starter.safetensors"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    course = Course(minutes=options.minutes, learning_rate=1e-3, cooldown=0.6)
    plan = ReferencePlan(truth=options.truth)
    try:
        student = Student(options.model, options.scenes, load_embeds(options.model, options.views, options.work), plan, course.seed)
        follow(course, student.weights, student.loss, options.work / "reference.pt")
    except DamagedFile as error:
        print(error, file=sys.stderr)
        return 1
    student.save(options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
