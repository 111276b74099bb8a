"""FLUX.2 klein (Black Forest Labs 2025): a flow on patches of 32-channel latents, told by three layers of a language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from engine.contract.chunks import Run
from engine.contract.families import FAMILIES
from engine.contract.parts import PARTS
from engine.contract.words import Passage
from engine.diffusion.conditioning import Told
from engine.diffusion.families.common import places
from engine.diffusion.families.family import Family, LoraReader, Parts
from engine.diffusion.voices import Learned, SentencePart, sentence

# Tokens at once; the form of a conversation takes some of them.
_ROOM, _FRAME = 512, 24
_LAYERS = (9, 18, 27)
# How far pictures to look at stand from each other on the axis of time.
_APART = 10


@dataclass(frozen=True)
class _Voice:
    """Three hidden layers side by side; the prompt is put as a person's line of a conversation."""

    encoder: Any
    part: SentencePart
    layers: tuple[int, ...]

    def runs(self, passages: tuple[Passage, ...], sizes: Mapping[str, int]) -> list[Run]:
        return self.part.runs(passages)

    def say(self, passages: tuple[Passage, ...], runs: int, learned: Learned) -> Told:
        line = asked(self.part.tokenizer, sentence(passages), enable_thinking=False)
        given = self.part.ids(line, runs, self.encoder.device)
        answer = self.encoder(input_ids=given.input_ids, attention_mask=given.attention_mask, output_hidden_states=True, use_cache=False)
        return Told(torch.cat([answer.hidden_states[layer] for layer in self.layers], dim=-1))


def asked(tokenizer: Any, text: str, **options: Any) -> str:
    """The words as a person's line, in the form that the language model was trained on."""
    return tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, **options)


@dataclass(frozen=True)
class NormalisedPatches:
    """2 × 2 patches of what the autoencoder encodes, each channel brought to mean 0 and spread 1 by the autoencoder's own statistics."""

    def channels(self, vae: Any) -> int:
        return int(vae.config["latent_channels"]) * 4

    def scale(self, vae: Any) -> int:
        return 2 ** len(vae.config["block_out_channels"])

    def draws(self, vae: Any) -> bool:
        return False

    def encode(self, vae: Any, pixels: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        found = vae.encode(pixels).latent_dist.mode().float()
        rows, channels, height, width = found.shape
        squares = found.reshape(rows, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
        mean, spread = _statistics(vae, found.device)
        return (squares.reshape(rows, channels * 4, height // 2, width // 2) - mean) / spread

    def decode(self, vae: Any, latents: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        mean, spread = _statistics(vae, latents.device)
        found = latents * spread + mean
        rows, channels, height, width = found.shape
        squares = found.reshape(rows, channels // 4, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
        return vae.decode(squares.reshape(rows, channels // 4, height * 2, width * 2).to(dtype), return_dict=False)[0]


def _statistics(vae: Any, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    mean = vae.bn.running_mean.view(1, -1, 1, 1).to(device, torch.float32)
    variance = vae.bn.running_var.view(1, -1, 1, 1).to(device, torch.float32)
    return mean, (variance + vae.config["batch_norm_eps"]).sqrt()


def _voice(parts: Parts, settings: Mapping[str, Any]) -> _Voice:
    return _Voice(parts["text_encoder"], SentencePart(parts["tokenizer"], _ROOM, _FRAME), _LAYERS)


def _predict(transformer: Any, sample: torch.Tensor, timestep: torch.Tensor, told: Told, added: Mapping[str, Any]) -> torch.Tensor:
    height, width = sample.shape[2:]
    # Four axes: time, row, column, place in the sentence.
    words = torch.zeros(told.words.shape[1], 4, device=sample.device)
    words[:, 3] = torch.arange(len(words), device=sample.device)
    grids = [(sample, 0), *((one.to(sample.dtype), _APART * number) for number, one in enumerate(told.beside, start=1))]
    ids = torch.cat([places(*one.shape[2:], axes=4, device=sample.device, first=time) for one, time in grids])
    tokens = transformer(
        hidden_states=torch.cat([one.flatten(2).transpose(1, 2) for one, _ in grids], dim=1), timestep=(timestep / 1000).expand(len(sample)).to(sample.dtype), guidance=None,
        encoder_hidden_states=told.words, txt_ids=words.expand(len(told), -1, -1),
        img_ids=ids.expand(len(sample), -1, -1), **added, return_dict=False,
    )[0]  # fmt: skip
    return tokens[:, : height * width].transpose(1, 2).reshape(sample.shape)


FLUX2 = Family(
    facts=FAMILIES["flux2"],
    components=PARTS["flux2"].classes,
    network="transformer",
    voice=_voice,
    latents=NormalisedPatches(),
    predict=_predict,
    loras=LoraReader("Flux2LoraLoaderMixin"),
)
