"""A word for a thing that the starter never saw: `python -m engine.starter.inversion --word snail`. Resumes where it stopped."""

from __future__ import annotations

import argparse
import hashlib
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
from safetensors.torch import save
from transformers import CLIPTextModel, CLIPTokenizer

from engine.contract.errors import DamagedFile
from engine.diffusion.embeddings import Spoken, spoken
from engine.starter.attributes import SceneLabels
from engine.starter.captions import HELD_OUT_WORDS, SYNONYMS
from engine.starter.course import Course, chance, follow
from engine.starter.lora import encode
from engine.starter.newcomers import NEWCOMERS, draw_newcomer, pictures_of
from engine.starter.unet import SCHEDULE, noisy


@dataclass(frozen=True)
class InversionPlan:
    """`focus` is how much more an error on the thing counts than one on the land around it."""

    vectors: int = 4
    batch: int = 4
    pictures: int = 200
    focus: float = 4.0


class Learner:
    """The frozen model, and vectors (n, 256) that stand in captions where the word does (Gal et al. 2023, section 3.2)."""

    def __init__(self, model: Path, word: str, plan: InversionPlan, seed: int) -> None:
        self._plan, self._seed = plan, seed
        unet: Any = UNet2DConditionModel.from_pretrained(model / "unet", torch_dtype=torch.bfloat16, local_files_only=True)
        self._unet: Any = unet.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self._tokenizer: Any = CLIPTokenizer.from_pretrained(model / "tokenizer")
        self._text_encoder: Any = CLIPTextModel.from_pretrained(model / "text_encoder", dtype=torch.float32).eval().requires_grad_(False)
        self._alphas = DDIMScheduler(**SCHEDULE).alphas_cumprod
        scenes = draw_newcomer(word, plan.pictures, seed)
        self._labels = [scene.labels for scene in scenes]
        self._latents = encode(model, pictures_of(scenes))
        masks = np.stack([cv2.resize(scene.mask, (32, 32), interpolation=cv2.INTER_AREA) for scene in scenes])
        self._weights = 1 + plan.focus * torch.from_numpy(masks)[:, None]
        torch.manual_seed(seed)
        self.vectors = torch.nn.Parameter(self._start())

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        """The denoiser's own objective, heavier on the thing itself."""
        rng, generator = chance(self._seed, step)
        rows = rng.integers(0, len(self._latents), self._plan.batch)
        embeds = self.heard([framing(self._labels[row], rng) for row in rows])
        latents = self._latents[rows]
        timesteps = (torch.arange(len(rows)) + torch.rand((), generator=generator)) / len(rows) * 1000
        timesteps = timesteps.long().clamp(0, 999)
        sample, goal = noisy(latents, torch.randn(latents.shape, generator=generator), self._alphas, timesteps)
        sample = sample.to(torch.bfloat16, memory_format=torch.channels_last)
        answer = self._unet(sample, timesteps, encoder_hidden_states=embeds.bfloat16(), return_dict=False)[0]
        error = (answer.float() - goal).square()
        weights = self._weights[rows]
        return (error * weights).sum() / weights.expand_as(error).sum(), {"plain": error.mean().item()}

    def heard(self, framings: list[tuple[str, str]]) -> torch.Tensor:
        """(B, 77, 256): the encoder's states for captions of the words before the thing and those after it."""
        longest = self._tokenizer.model_max_length
        ids, places = torch.full((len(framings), longest), int(self._tokenizer.pad_token_id)), list[Spoken]()
        for number, (before, after) in enumerate(framings):
            first = [self._tokenizer.bos_token_id, *self._tokenizer(before, add_special_tokens=False).input_ids]
            # What stands under the vectors is never heard.
            row = [*first, *first[:1] * len(self.vectors), *self._tokenizer(after, add_special_tokens=False).input_ids]
            row = [*row, self._tokenizer.eos_token_id]
            ids[number, : len(row)] = torch.tensor(row)
            places += [Spoken(number, len(first) + k, vector) for k, vector in enumerate(self.vectors)]
        with spoken(self._text_encoder, places):
            return self._text_encoder(ids).last_hidden_state

    def save(self, path: Path) -> None:
        """As A1111 keeps multi-vector embeddings: one tensor, `emb_params`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part")
        facts = {"title": f"{path.stem}: a thing that the starter had never seen", "licence": "Apache-2.0", "format": "pt"}
        aside.write_bytes(save({"emb_params": self.vectors.detach().half().contiguous()}, metadata=facts))
        os.replace(aside, path)

    def _start(self) -> torch.Tensor:
        """The mean of the known subjects, each vector a little aside: something that stands in a scene, nothing in particular."""
        ids = [self._tokenizer(SYNONYMS[name][0], add_special_tokens=False).input_ids[0] for name in ("bird", "balloon", "mushroom", "house", "car")]
        table = self._text_encoder.get_input_embeddings().weight
        return table[ids].mean(0) + table.std() * 0.3 * torch.randn(self._plan.vectors, table.shape[1])


def sha256_of(path: Path) -> str:
    """What a recipe remembers of an embedding's file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def framing(labels: SceneLabels, rng: np.random.Generator) -> tuple[str, str]:
    """What a training caption says before and after the thing; each part is left out now and then."""
    said = {name: _word(getattr(labels, name), rng) for name in ("colour", "place", "time", "position", "weather", "style")}
    share = {"colour": 0.9, "place": 0.85, "time": 0.85, "position": 0.5, "weather": 0.3, "style": 0.5}
    said = {name: word for name, word in said.items() if rng.random() < share[name]}
    colour = said.pop("colour", "")
    before = " ".join(part for part in (("a", "the", "")[int(rng.integers(3))], colour) if part)
    after = (" ", ", ")[int(rng.integers(2))].join(said.values())
    return before, after


def _word(value: str, rng: np.random.Generator) -> str:
    options = [word for word in SYNONYMS[value] if word not in HELD_OUT_WORDS]
    return options[0] if rng.random() < 0.5 else options[int(rng.integers(len(options)))]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.inversion", description=__doc__)
    parser.add_argument("--word", choices=sorted(NEWCOMERS), default="snail")
    parser.add_argument("--minutes", type=float, default=8, help="of training, all runs together")
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"))
    parser.add_argument("--work", type=Path, default=Path("data/inversion"), help="folder for checkpoints")
    parser.add_argument("--out", type=Path, default=Path("presets/embeddings"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    course = Course(minutes=options.minutes, learning_rate=1e-2, weight_decay=0.0, warm_up=20, cooldown=0.5, ema=0.98, say_every=25)
    learner = Learner(options.model, options.word, InversionPlan(), course.seed)
    try:
        follow(course, [learner.vectors], learner.loss, options.work / f"{options.word}.pt")
    except DamagedFile as error:
        print(error, file=sys.stderr)
        return 1
    learner.save(options.out / f"{options.word}.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
