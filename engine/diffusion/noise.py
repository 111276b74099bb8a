"""Randomness: one CPU generator for each picture, so a seed means the same picture in any batch and on any device."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One seeded CPU generator for each picture."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def initial_noise(shape: tuple[int, int, int], rng: Sequence[torch.Generator], device: torch.device) -> torch.Tensor:
    """Standard normal latents (B, C, h, w) in float32. Drawn in float32 whatever the model runs in: the seed decides, not the dtype."""
    return torch.stack([torch.randn(shape, generator=g, dtype=torch.float32) for g in rng]).to(device)
