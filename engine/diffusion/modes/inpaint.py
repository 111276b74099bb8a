"""A part of a picture drawn anew: known latents are put back after each step, or an inpainting checkpoint is told what is known."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from engine.contract.recipe import Recipe
from engine.diffusion.controlnet import Control
from engine.diffusion.denoise import Step, denoise, set_steps, start_from, start_noise
from engine.diffusion.freezing import FrozenWalk
from engine.diffusion.images import Mask, Rgb, to_pixels
from engine.diffusion.latents import encode
from engine.diffusion.loading import Components
from engine.diffusion.masking import KeepOutside, to_latent_mask
from engine.diffusion.modes.txt2img import embeds_of, flow_of
from engine.diffusion.noise import initial_noise, recipe_generators, recipe_noise
from engine.diffusion.schedulers import build_scheduler
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
    rng = recipe_generators(recipe)
    scheduler = build_scheduler(recipe.scheduler, components.scheduler_config, recipe.schedule)
    strength = recipe.strength or 1.0
    pixels = to_pixels(part).repeat(recipe.count, 1, 1, 1)
    shape = (components.latent_channels, part.shape[0] // components.vae_scale, part.shape[1] // components.vae_scale)
    with torch.inference_mode():
        begin = set_steps(scheduler, recipe.steps, strength, components.device, recipe.schedule, flow_of(components, scheduler, recipe.steps, shape))
        needs_source = not components.is_inpainting or strength < 1
        clean = encode(components, pixels, rng) if needs_source else None
        noise = recipe_noise(recipe, shape, rng, components.device)
        if not components.is_inpainting and components.encodes_by_chance:
            # diffusers encodes the masked picture here even where no one looks at it; random samplers then go on from
            # the same place in each generator.
            initial_noise(shape, rng, components.device)
        latent_mask = to_latent_mask(mask, components.vae_scale, components.device)
        yield from denoise(
            components.denoiser,
            scheduler,
            name=recipe.scheduler,
            latents=start_noise(scheduler, noise) if clean is None or strength == 1 else start_from(scheduler, clean, noise, begin),
            embeds=embeds_of(recipe, prompts),
            guidance=recipe.guidance,
            nudge=score_nudge(components, recipe),
            rng=rng,
            begin=begin,
            control=control,
            frozen=frozen,
            keep=None if components.is_inpainting or clean is None else KeepOutside(clean, noise, latent_mask, is_soft=bool(recipe.is_soft)),
            extra=_known(components, pixels, mask, latent_mask, rng) if components.is_inpainting else None,
        )


def _known(components: Components, pixels: torch.Tensor, mask: Mask, latent_mask: torch.Tensor, rng: list[torch.Generator]) -> torch.Tensor:
    """Mask and masked picture as an inpainting checkpoint takes them: (B, 1 + C, h, w)."""
    visible = pixels * (torch.from_numpy(mask)[None, None] < 0.5)
    hard = (latent_mask >= 0.5).to(torch.float32).repeat(len(pixels), 1, 1, 1)
    return torch.cat([hard, encode(components, visible, rng)], dim=1)
