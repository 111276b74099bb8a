"""Latents to pixels, with the two ways in which it can go wrong looked at."""

from __future__ import annotations

from collections.abc import Sequence

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
    own = components.family.latents
    rows = pixels.to(components.device, components.dtype)
    latents = torch.cat([own.encode(components.vae, row[None], generator) for row, generator in zip(rows, rng, strict=True)])
    check_latents(latents)
    return latents


def encode_as_is(components: Components, pixels: torch.Tensor) -> torch.Tensor:
    """(1, 3, H, W) pixels in [-1, 1] → (1, C, h, w) float32 latents, the likeliest: nothing is drawn."""
    latents = components.family.latents.encode(components.vae, pixels.to(components.device, components.dtype), None)
    check_latents(latents)
    return latents


def decode(components: Components, latents: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) float32 latents → (B, 3, H, W) pixels in about [-1, 1]. A decoder that overflows is retried once in float32."""
    vae, own = components.vae, components.family.latents
    pixels = own.decode(vae, latents, components.dtype)
    if bool(torch.isfinite(pixels).all()):
        return pixels
    try:
        pixels = own.decode(vae.to(dtype=torch.float32), latents, torch.float32)
    finally:
        vae.to(dtype=components.dtype)
    check_latents(pixels)
    return pixels
