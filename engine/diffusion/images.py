"""The only place where pixel ranges and layouts change."""

from __future__ import annotations

import torch


def to_rgb_bytes(pixels: torch.Tensor) -> bytes:
    """(3, H, W) in [-1, 1] → H·W·3 bytes, rows first, rounded as diffusers' image processor does."""
    unit = (pixels.float() / 2 + 0.5).clamp(0, 1)
    return (unit.permute(1, 2, 0).cpu() * 255).round().to(torch.uint8).contiguous().numpy().tobytes()
