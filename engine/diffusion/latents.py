"""Latents to pixels, with the two ways in which it can go wrong looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from engine.contract.errors import BadNumbers
from engine.diffusion.loading import Components


def check_latents(latents: torch.Tensor) -> None:
    """Raises `BadNumbers` as soon as a step produced NaN or infinity."""
    if not bool(torch.isfinite(latents).all()):
        raise BadNumbers(
            "The model produced numbers that make no picture.",
            "Lower the guidance, or choose another sampler; if it stays, the model file may be damaged.",
            "guidance_scale",
        )


def encode(components: Components, pixels: torch.Tensor, rng: Sequence[torch.Generator]) -> torch.Tensor:
    """(B, 3, H, W) pixels in [-1, 1] → (B, C, h, w) float32 latents. A sampling encoder draws from each picture's generator."""
    vae: Any = components.vae
    rows: list[torch.Tensor] = []
    for row, generator in zip(pixels.to(components.device, components.dtype), rng, strict=True):
        answer = vae.encode(row[None])
        rows.append(answer.latents if hasattr(answer, "latents") else answer.latent_dist.sample(generator))
    latents = (torch.cat(rows).float() - (vae.config.get("shift_factor") or 0.0)) * vae.config["scaling_factor"]
    check_latents(latents)
    return latents


def decode(components: Components, latents: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) float32 latents → (B, 3, H, W) pixels in about [-1, 1]. A decoder that overflows is retried once in float32."""
    vae: Any = components.vae
    scaled = latents / vae.config["scaling_factor"] + (vae.config.get("shift_factor") or 0.0)
    pixels = vae.decode(scaled.to(components.dtype), return_dict=False)[0]
    if bool(torch.isfinite(pixels).all()):
        return pixels
    try:
        pixels = vae.to(dtype=torch.float32).decode(scaled.float(), return_dict=False)[0]
    finally:
        vae.to(dtype=components.dtype)
    check_latents(pixels)
    return pixels
