"""The starter's few-step LoRA: `python -m engine.starter.fewsteps`. From any place of a walk straight to its end; resumes where it stopped."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save
from transformers import CLIPTextModel, CLIPTokenizer

from engine.contract.errors import DamagedFile
from engine.starter.course import Course, chance, follow
from engine.starter.lora import TARGETS
from engine.starter.text_encoder import tokenize
from engine.starter.trajectories import STEPS, Walks, load_walks
from engine.starter.unet import SCHEDULE

# What the file says about itself: a card, and how it wants to be used.
FACTS = {
    "title": "Few steps: a picture in 4 to 8", "trigger": "", "licence": "Apache-2.0", "format": "pt",
    "kind": "few steps", "sampler": "lcm", "steps": "4-8", "guidance": "1",
}  # fmt: skip


@dataclass(frozen=True)
class FewStepsPlan:
    rank: int = 8
    batch: int = 8
    # Of the pseudo-Huber loss: below this an error counts as its square, above as itself.
    bend: float = 0.03


class Shortcut:
    """The frozen base model and an adapter that learns where each walk ends.

    A consistency function (Song et al. 2023, eq. 4) in the form of latent consistency LoRAs (Luo et al. 2023), guidance included, but
    without their bootstrapping: with walks of 20 steps at hand the end of each is known and need not be guessed by the model itself.
    """

    def __init__(self, model: Path, walks: Walks, plan: FewStepsPlan, seed: int) -> None:
        self._plan, self._seed, self._walks = plan, seed, walks
        torch.manual_seed(seed)
        self.unet: Any = UNet2DConditionModel.from_pretrained(model / "unet", torch_dtype=torch.float32, local_files_only=True)
        self.unet.requires_grad_(False)
        self.unet.add_adapter(LoraConfig(r=plan.rank, lora_alpha=plan.rank, target_modules=TARGETS))
        self.weights: list[torch.nn.Parameter] = [one for one in self.unet.parameters() if one.requires_grad]
        self._embeds = _embeds(model, walks.captions)
        self._alphas = DDIMScheduler(**SCHEDULE).alphas_cumprod

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Pseudo-Huber distance (Song & Dhariwal 2023, section 3.3) of the predicted clean latents to the end of the walk."""
        rng, _ = chance(self._seed, step)
        rows = rng.integers(0, len(self._walks.latents), self._plan.batch)
        # Each batch covers the walk evenly; pure noise is where every short way begins, so it comes a little more often.
        places = ((np.arange(self._plan.batch) + rng.random()) / self._plan.batch * (STEPS + 1)).astype(int) - 1
        places = places.clip(min=0)
        sample = torch.from_numpy(self._walks.latents[rows, places].astype(np.float32))
        goal = torch.from_numpy(self._walks.latents[rows, -1].astype(np.float32))
        timesteps = torch.from_numpy(self._walks.timesteps[places])
        with torch.autocast("cpu", torch.bfloat16):
            answer = self.unet(sample, timesteps, encoder_hidden_states=self._embeds[rows], return_dict=False)[0].float()
        alpha, sigma = (part.sqrt().view(-1, 1, 1, 1) for part in (self._alphas[timesteps], 1 - self._alphas[timesteps]))
        error = (alpha * sample - sigma * answer - goal).square()
        bend = self._plan.bend
        return ((error + bend**2).sqrt() - bend).mean(), {"rms": error.detach().mean().sqrt().item()}

    def save(self, path: Path) -> None:
        """One file of diffusers' names in fp16, written aside first."""
        state = {f"unet.{key}": value.half().contiguous() for key, value in get_peft_model_state_dict(self.unet).items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part")
        aside.write_bytes(save(state, metadata=FACTS))
        os.replace(aside, path)


def _embeds(model: Path, captions: list[str]) -> torch.Tensor:
    """(N, 77, 256) bfloat16."""
    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
    encoder: Any = CLIPTextModel.from_pretrained(model / "text_encoder", dtype=torch.bfloat16).eval()
    with torch.no_grad():
        return torch.cat([encoder(tokenize(tokenizer, captions[start : start + 64])).last_hidden_state for start in range(0, len(captions), 64)])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.fewsteps", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="of training, all runs together")
    parser.add_argument("--walks", type=int, default=720, help="walks of the base model to learn from")
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"))
    parser.add_argument("--work", type=Path, default=Path("data/fewsteps"), help="folder for walks and checkpoints")
    parser.add_argument("--out", type=Path, default=Path("presets/loras/starter-fewsteps.safetensors"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    course = Course(minutes=options.minutes, learning_rate=1e-3, cooldown=0.6, ema=0.995)
    try:
        walks = load_walks(options.model, options.work, count=options.walks)
        shortcut = Shortcut(options.model, walks, FewStepsPlan(), course.seed)
        follow(course, shortcut.weights, shortcut.loss, options.work / "fewsteps.pt")
    except DamagedFile as error:
        print(error, file=sys.stderr)
        return 1
    shortcut.save(options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
