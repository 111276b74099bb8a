"""What several families share: plain latents and 2 × 2 patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL


@dataclass(frozen=True)
class PlainLatents:
    """What an image autoencoder encodes, moved and scaled as its settings say."""

    def channels(self, vae: Any) -> int:
        return int(vae.config["latent_channels"])

    def scale(self, vae: Any) -> int:
        widths = vae.config["block_out_channels"] if isinstance(vae, AutoencoderKL) else vae.config["encoder_block_out_channels"]
        return 2 ** (len(widths) - 1)

    def draws(self, vae: Any) -> bool:
        return isinstance(vae, AutoencoderKL)

    def encode(self, vae: Any, pixels: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        answer = vae.encode(pixels)
        latents = answer.latents if hasattr(answer, "latents") else drawn(answer.latent_dist, generator)
        return (latents.float() - (vae.config.get("shift_factor") or 0.0)) * vae.config["scaling_factor"]

    def decode(self, vae: Any, latents: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        scaled = latents / vae.config["scaling_factor"] + (vae.config.get("shift_factor") or 0.0)
        return vae.decode(scaled.to(dtype), return_dict=False)[0]


def drawn(found: Any, generator: torch.Generator | None) -> torch.Tensor:
    """A draw from what an encoder found; without a generator the likeliest."""
    return found.mode() if generator is None else found.sample(generator)


def to_patches(sample: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) → (B, h/2 · w/2, 4C): every 2 × 2 square is a token."""
    rows, channels, height, width = sample.shape
    squares = sample.reshape(rows, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(rows, (height // 2) * (width // 2), channels * 4)


def from_patches(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The inverse of `to_patches` for latents of this size."""
    rows, _, wide = tokens.shape
    squares = tokens.reshape(rows, height // 2, width // 2, wide // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return squares.reshape(rows, wide // 4, height, width)


def places(height: int, width: int, *, axes: int, device: torch.device, first: int = 0) -> torch.Tensor:
    """Positions of a grid of tokens, (height · width, axes): row and column stand on axes 1 and 2, `first` on axis 0 tells pictures apart."""
    grid = torch.zeros(height, width, axes, device=device)
    grid[..., 0] = first
    grid[..., 1] = torch.arange(height, device=device)[:, None]
    grid[..., 2] = torch.arange(width, device=device)[None]
    return grid.reshape(height * width, axes)
