"""Latents to pixels, with the two ways in which it can go wrong looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from engine.contract.errors import BadNumbers
from engine.contract.memory import tile_edge
from engine.contract.tiles import plan_tiles
from engine.diffusion.loading import Components

# Latents that neighbouring tiles share when a picture is decoded in tiles: further than a decoder looks.
_OVERLAP = 16


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
    components.use("vae")
    rows = pixels.to(components.device, components.dtype)
    latents = torch.cat([own.encode(components.vae, row[None], generator) for row, generator in zip(rows, rng, strict=True)])
    check_latents(latents)
    return latents


def encode_as_is(components: Components, pixels: torch.Tensor) -> torch.Tensor:
    """(1, 3, H, W) pixels in [-1, 1] → (1, C, h, w) float32 latents, the likeliest: nothing is drawn."""
    components.use("vae")
    latents = components.family.latents.encode(components.vae, pixels.to(components.device, components.dtype), None)
    check_latents(latents)
    return latents


def decode(components: Components, latents: torch.Tensor, *, spare_bytes: int | None = None) -> torch.Tensor:
    """(B, C, h, w) float32 latents → (B, 3, H, W) pixels in about [-1, 1]. A decoder that overflows is retried once in float32.

    Pictures that would take more than `spare_bytes` to decode are decoded in tiles; None: never.
    """
    components.use("vae")
    vae = components.vae
    pixels = _decode(components, latents, components.dtype, spare_bytes)
    if bool(torch.isfinite(pixels).all()):
        return pixels
    try:
        vae.to(dtype=torch.float32)
        pixels = _decode(components, latents, torch.float32, spare_bytes)
    finally:
        vae.to(dtype=components.dtype)
    check_latents(pixels)
    return pixels


def _decode(components: Components, latents: torch.Tensor, dtype: torch.dtype, spare_bytes: int | None) -> torch.Tensor:
    vae, own, scale = components.vae, components.family.latents, components.vae_scale
    height, width = latents.shape[2] * scale, latents.shape[3] * scale
    edge = None if spare_bytes is None else tile_edge(width, height, len(latents) * decode_bytes(vae, dtype), spare_bytes)
    if edge is None:
        return own.decode(vae, latents, dtype)
    return in_tiles(latents, max(edge // scale, 2 * _OVERLAP), scale, lambda part: own.decode(vae, part, dtype))


def decode_bytes(vae: Any, dtype: torch.dtype) -> int:
    """What decoding takes for each pixel, as a rule of thumb: three sheets at full size, as wide as the layers next to the last."""
    config = vae.config
    widths = config.get("decoder_block_out_channels") or config.get("block_out_channels") or [2 * config.get("base_dim", 128)]
    return 3 * 2 * int(widths[0]) * dtype.itemsize


def in_tiles(latents: torch.Tensor, edge: int, scale: int, make: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """`make` (B, C, h, w) → (B, 3, h·scale, w·scale) over tiles of `edge` latents. Each comes in on a ramp over its overlaps, so no edge shows.

    Tiles of a row are joined with each other first, and the row with what lies above it after that.
    """
    rows, _, height, width = latents.shape
    out = latents.new_zeros(rows, 3, height * scale, width * scale)
    row = out[:, :, :0]
    for tile in plan_tiles(width, height, edge, edge, _OVERLAP):
        x0, y0, x1, y1 = tile.box
        made = make(latents[:, :, y0:y1, x0:x1]).to(out.dtype)
        if x0 == 0:
            row = out[:, :, y0 * scale : y1 * scale].clone()
        part = row[..., x0 * scale : x1 * scale]
        part.lerp_(made, _ramp(made.shape[-1], tile.left_blend * scale, out))
        share = _ramp(made.shape[-2], tile.top_blend * scale, out)[:, None]
        if x1 == width:
            out[:, :, y0 * scale : y1 * scale].lerp_(row, share)
    return out


def _ramp(length: int, blend: int, like: torch.Tensor) -> torch.Tensor:
    """(length) from 0 to 1 over the first `blend` pixels, then 1: half a cosine, smooth at both ends."""
    share = torch.ones(length, dtype=like.dtype, device=like.device)
    share[:blend] = 0.5 - 0.5 * torch.cos(torch.pi * (torch.arange(blend, dtype=like.dtype, device=like.device) + 0.5) / max(blend, 1))
    return share
