"""A part of a picture drawn anew: known latents are put back after each step, or an inpainting checkpoint is told what is known."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from engine.contract.recipe import Recipe
from engine.diffusion.controlnet import Control
from engine.diffusion.denoise import Step, denoise, start_from, start_noise
from engine.diffusion.freezing import FrozenWalk
from engine.diffusion.images import Mask, Rgb, to_pixels
from engine.diffusion.latents import encode
from engine.diffusion.loading import Components
from engine.diffusion.masking import KeepOutside, to_latent_mask
from engine.diffusion.modes.beginning import begin_walk, embeds_of
from engine.diffusion.noise import initial_noise
from engine.diffusion.score_guidance import score_nudge
from engine.diffusion.text import PromptEncoder


def inpaint(
    components: Components,
    prompts: PromptEncoder,
    recipe: Recipe,
    part: Rgb,
    mask: Mask,
    *,
    control: Control | None = None,
    frozen: FrozenWalk | None = None,
) -> Iterator[Step]:
    """The steps of all pictures as one batch. `part` (h, w, 3) and `mask` (h, w) have the size that is drawn.

    In the form of diffusers' StableDiffusionInpaintPipeline: at strength 1 the walk starts from pure noise, below from
    the source; generators are drawn from in the same order.
    """
    strength = recipe.strength or 1.0
    pixels = to_pixels(part).repeat(recipe.count, 1, 1, 1)
    with torch.inference_mode():
        first = begin_walk(components, recipe, size=(part.shape[1], part.shape[0]), strength=strength)
        needs_source = not components.is_inpainting or strength < 1
        clean = encode(components, pixels, first.rng) if needs_source else None
        noise = first.noise(recipe, components.device)
        if not components.is_inpainting and components.encodes_by_chance:
            # diffusers encodes the masked picture here even where no one looks at it; random samplers then go on from
            # the same place in each generator.
            initial_noise(first.shape, first.rng, components.device)
        latent_mask = to_latent_mask(mask, components.vae_scale, components.device)
        yield from denoise(
            components.denoiser,
            first.scheduler,
            name=recipe.scheduler,
            latents=start_noise(first.scheduler, noise) if clean is None or strength == 1 else start_from(first.scheduler, clean, noise, first.begin),
            embeds=embeds_of(recipe, prompts),
            guidance=recipe.guidance,
            nudge=score_nudge(components, recipe),
            rng=first.rng,
            begin=first.begin,
            control=control,
            frozen=frozen,
            keep=None if components.is_inpainting or clean is None else KeepOutside(clean, noise, latent_mask, is_soft=bool(recipe.is_soft)),
            extra=_known(components, pixels, mask, latent_mask, first.rng) if components.is_inpainting else None,
        )


def _known(components: Components, pixels: torch.Tensor, mask: Mask, latent_mask: torch.Tensor, rng: list[torch.Generator]) -> torch.Tensor:
    """Mask and masked picture as an inpainting checkpoint takes them: (B, 1 + C, h, w)."""
    visible = pixels * (torch.from_numpy(mask)[None, None] < 0.5)
    hard = (latent_mask >= 0.5).to(torch.float32).repeat(len(pixels), 1, 1, 1)
    return torch.cat([hard, encode(components, visible, rng)], dim=1)
