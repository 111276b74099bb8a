"""Randomness: one CPU generator for each picture, so a seed means the same picture in any batch and on any device."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.contract.recipe import Recipe


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One seeded CPU generator for each picture."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def recipe_generators(recipe: Recipe) -> list[torch.Generator]:
    """The generators of all pictures of a recipe."""
    return generators([recipe.for_picture(index).seed for index in range(recipe.count)])


def initial_noise(shape: tuple[int, int, int], rng: Sequence[torch.Generator], device: torch.device) -> torch.Tensor:
    """Standard normal latents (B, C, h, w) in float32. Drawn in float32 whatever the model runs in: the seed decides, not the dtype."""
    return torch.stack([torch.randn(shape, generator=g, dtype=torch.float32) for g in rng]).to(device)


def recipe_noise(recipe: Recipe, shape: tuple[int, int, int], rng: Sequence[torch.Generator], device: torch.device) -> torch.Tensor:
    """The first noise of a recipe's pictures, (B, C, h, w) float32, turned towards the variation where there is one."""
    noise = initial_noise(shape, rng, device)
    if recipe.variation_seed is None or not recipe.variation_strength:
        return noise
    seeds = [recipe.for_picture(index).variation_seed or 0 for index in range(recipe.count)]
    return slerp(noise, initial_noise(shape, generators(seeds), device), recipe.variation_strength)


def slerp(first: torch.Tensor, second: torch.Tensor, share: float) -> torch.Tensor:
    """Spherical interpolation of each picture's noise (B, C, h, w) (Shoemake 1985): noise between two noises is still noise.

    A plain mean would lose spread and come out flat and grey.
    """
    a, b = first.flatten(1), second.flatten(1)
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    angle = torch.acos(cosine.clamp(-1, 1)).view(-1, 1)
    weight_a, weight_b = torch.sin((1 - share) * angle), torch.sin(share * angle)
    # Noises of one seed have no angle between them.
    mixed = torch.where(angle < 1e-4, a, (weight_a * a + weight_b * b) / torch.sin(angle).clamp(min=1e-8))
    return mixed.view_as(first)
