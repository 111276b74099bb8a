"""The starter's style LoRAs: `python -m engine.starter.lora`. A few minutes a style on one core, the base model frozen."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer

from engine.starter.attributes import SceneLabels, random_labels
from engine.starter.captions import caption
from engine.starter.scenes import draw
from engine.starter.styles import STYLES, TITLES, TRIGGERS
from engine.starter.text_encoder import tokenize
from engine.starter.unet import SCHEDULE, noisy

RANK = 4
# The starter attends on coarse levels only; texture is made by the convolutions.
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "conv1", "conv2", "conv_in", "conv_out"]
_BATCH = 8


def draw_style(style: str, count: int, seed: int) -> tuple[NDArray[np.uint8], list[SceneLabels]]:
    """(count, 256, 256, 3) scenes in this style and what is in them."""
    rng = np.random.default_rng(seed)
    labels = [random_labels(rng, is_wide=True) for _ in range(count)]
    pictures = [STYLES[style](draw(one, seed=seed * 10_000 + k).image, rng) for k, one in enumerate(labels)]
    return np.stack(pictures), labels


def style_caption(labels: SceneLabels, style: str, rng: np.random.Generator) -> str:
    """What is in the picture in training words, and the trigger before or after them."""
    text = caption(labels, rng)
    trigger = TRIGGERS[style]
    return f"{trigger} of {text}" if rng.random() < 0.5 else f"{text}, {trigger}"


class StyleTrainer:
    """The frozen base model with one fresh adapter."""

    def __init__(self, folder: Path, style: str, *, pictures: int, seed: int) -> None:
        self._style = style
        self._rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self._unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32, local_files_only=True)
        self._unet.requires_grad_(False)
        self._unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS))
        self._tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self._text_encoder: Any = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval()
        self._alphas = DDIMScheduler(**SCHEDULE).alphas_cumprod
        images, self._labels = draw_style(style, pictures, seed)
        self._latents = encode(folder, images)
        self._weights = [one for one in self._unet.parameters() if one.requires_grad]

    def train(self, steps: int, *, rate: float = 1e-3) -> list[float]:
        """Loss after each step: the base model's own objective on pictures in the style."""
        optimiser = torch.optim.AdamW(self._weights, lr=rate, weight_decay=0.01, foreach=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps, pct_start=0.1)
        losses: list[float] = []
        started = time.monotonic()
        for step in range(steps):
            loss = self._loss()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
            if step % 50 == 49:
                print(f"{self._style} step {step + 1}/{steps} loss {np.mean(losses[-50:]):.3f} {time.monotonic() - started:.0f} s", flush=True)
        return losses

    def save(self, path: Path) -> None:
        """One file of diffusers' names in fp16, with title, trigger and licence in its header."""
        state = get_peft_model_state_dict(self._unet)
        facts = {"title": TITLES[self._style], "trigger": TRIGGERS[self._style], "licence": "Apache-2.0", "format": "pt"}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({f"unet.{key}": value.half().contiguous() for key, value in state.items()}, path, metadata=facts)

    def _loss(self) -> torch.Tensor:
        rows = self._rng.integers(0, len(self._latents), _BATCH)
        texts = ["" if self._rng.random() < 0.1 else style_caption(self._labels[row], self._style, self._rng) for row in rows]
        with torch.no_grad():
            embeds = self._text_encoder(tokenize(self._tokenizer, texts)).last_hidden_state
        latents = self._latents[rows]
        timesteps = ((torch.arange(_BATCH) + torch.rand(())) / _BATCH * 1000).long().clamp(0, 999)
        sample, goal = noisy(latents, torch.randn_like(latents), self._alphas, timesteps)
        with torch.autocast("cpu", torch.bfloat16):
            answer = self._unet(sample, timesteps, encoder_hidden_states=embeds, return_dict=False)[0]
        return (answer.float() - goal).square().mean()


def encode(folder: Path, images: NDArray[np.uint8]) -> torch.Tensor:
    """(N, 8, 32, 32) float32 latents in the scale that the denoiser works in."""
    vae: Any = AutoencoderTiny.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()
    made: list[torch.Tensor] = []
    for start in range(0, len(images), 16):
        pixels = torch.from_numpy(images[start : start + 16].astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1
        with torch.no_grad():
            made.append(vae.encoder(pixels) * vae.config.scaling_factor)
    return torch.cat(made)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.lora", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"))
    parser.add_argument("--out", type=Path, default=Path("presets/loras"))
    parser.add_argument("--style", choices=(*STYLES, "all"), default="all")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--pictures", type=int, default=200)
    options = parser.parse_args()
    for number, style in enumerate(STYLES if options.style == "all" else (options.style,)):
        trainer = StyleTrainer(options.model, style, pictures=options.pictures, seed=100 + number)
        trainer.train(options.steps)
        trainer.save(options.out / f"{style}.safetensors")
        print(f"wrote {options.out / style}.safetensors, {(options.out / f'{style}.safetensors').stat().st_size / 1e6:.2f} MB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
