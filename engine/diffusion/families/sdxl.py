"""Stable Diffusion XL, Turbo and Lightning included (Podell et al. 2023, arXiv:2307.01952)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from engine.contract.families import FAMILIES
from engine.contract.parts import PARTS
from engine.diffusion.conditioning import Told
from engine.diffusion.families.common import PlainLatents
from engine.diffusion.families.family import Family, LoraReader, Parts
from engine.diffusion.voices import ClipPart, TwoClipsVoice

# Every autoencoder of this family halves three times; the size that the denoiser is told is in pixels.
_PIXELS = 8


def _voice(parts: Parts, settings: Mapping[str, Any]) -> TwoClipsVoice:
    pair = (ClipPart(parts["text_encoder"], parts["tokenizer"]), ClipPart(parts["text_encoder_2"], parts["tokenizer_2"]))
    return TwoClipsVoice(pair, is_silent_when_empty=bool(settings["force_zeros_for_empty_prompt"]))


def _predict(unet: Any, sample: torch.Tensor, timestep: torch.Tensor, told: Told, added: Mapping[str, Any]) -> torch.Tensor:
    return unet(sample, timestep, **told.inputs(), **size_inputs(sample, told), **added, return_dict=False)[0]


def size_inputs(sample: torch.Tensor, told: Told) -> dict[str, Any]:
    """Their micro-conditioning: a picture that was always of this size, nothing cut off. With what the whole prompt comes to."""
    height, width = sample.shape[2] * _PIXELS, sample.shape[3] * _PIXELS
    sizes = torch.tensor([[height, width, 0, 0, height, width]], device=sample.device, dtype=told.dtype)
    return {"added_cond_kwargs": {"text_embeds": told.aside["pooled"], "time_ids": sizes.expand(len(told), -1)}}


SDXL = Family(
    facts=FAMILIES["sdxl"],
    components=PARTS["sdxl"].classes,
    voice=_voice,
    latents=PlainLatents(),
    predict=_predict,
    loras=LoraReader("StableDiffusionXLLoraLoaderMixin", ("text_encoder", "text_encoder_2")),
    settings={"force_zeros_for_empty_prompt": True},
)
