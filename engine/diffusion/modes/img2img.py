"""A picture from words and a source: noise is added to the source, and the rest of the schedule walked."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from engine.contract.recipe import Recipe
from engine.diffusion.controlnet import Control
from engine.diffusion.denoise import Step, denoise, start_from
from engine.diffusion.freezing import FrozenWalk
from engine.diffusion.images import Rgb, to_pixels
from engine.diffusion.latents import encode
from engine.diffusion.loading import Components
from engine.diffusion.modes.beginning import begin_walk, embeds_of
from engine.diffusion.score_guidance import score_nudge
from engine.diffusion.text import PromptEncoder


def image_to_image(
    components: Components,
    prompts: PromptEncoder,
    recipe: Recipe,
    source: Rgb,
    *,
    noise: torch.Tensor | None = None,
    control: Control | None = None,
    frozen: FrozenWalk | None = None,
) -> Iterator[Step]:
    """The steps of all pictures as one batch. `source` has the size that is drawn; `noise` (B, C, h, w) replaces the seed's own.

    SDEdit (Meng et al. 2022), in the form of diffusers' StableDiffusionImg2ImgPipeline.
    """
    with torch.inference_mode():
        first = begin_walk(components, recipe, size=(source.shape[1], source.shape[0]), strength=recipe.strength or 1.0)
        clean = encode(components, to_pixels(source).repeat(recipe.count, 1, 1, 1), first.rng)
        drawn = first.noise(recipe, components.device) if noise is None else noise
        yield from denoise(
            components.denoiser,
            first.scheduler,
            name=recipe.scheduler,
            latents=start_from(first.scheduler, clean, drawn, first.begin),
            embeds=embeds_of(recipe, prompts),
            guidance=recipe.guidance,
            nudge=score_nudge(components, recipe),
            rng=first.rng,
            begin=first.begin,
            control=control,
            frozen=frozen,
            extra=_all_masked(clean) if components.is_inpainting else None,
        )


def _all_masked(clean: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.ones_like(clean[:, :1]), torch.zeros_like(clean)], dim=1)
