"""Stable Diffusion 1.x and everything in its layout, the starter included (Rombach et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from engine.contract.families import FAMILIES
from engine.contract.parts import PARTS
from engine.diffusion.conditioning import Told
from engine.diffusion.families.common import PlainLatents
from engine.diffusion.families.family import Family, LoraReader, Parts
from engine.diffusion.voices import ClipPart, ClipVoice


def _voice(parts: Parts, settings: Mapping[str, Any]) -> ClipVoice:
    return ClipVoice(ClipPart(parts["text_encoder"], parts["tokenizer"]))


def _predict(unet: Any, sample: torch.Tensor, timestep: torch.Tensor, told: Told, added: Mapping[str, Any]) -> torch.Tensor:
    return unet(sample, timestep, **told.inputs(), **added, return_dict=False)[0]


SD1 = Family(
    facts=FAMILIES["sd1"],
    components=PARTS["sd1"].classes,
    voice=_voice,
    latents=PlainLatents(),
    predict=_predict,
    loras=LoraReader("StableDiffusionLoraLoaderMixin", ("text_encoder",)),
    # A least-squares fit that is widely used for the 4-channel autoencoder of SD 1.x.
    preview_matrix=((0.35, 0.23, 0.32), (0.33, 0.50, 0.54), (-0.28, 0.18, 0.27), (-0.21, -0.26, -0.72)),
)
