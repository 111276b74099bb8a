"""A picture from words and a source: noise is added to the source, and the rest of the schedule walked."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from engine.contract.recipe import Recipe
from engine.diffusion.controlnet import Control
from engine.diffusion.denoise import Step, denoise, set_steps, start_from
from engine.diffusion.freezing import FrozenWalk
from engine.diffusion.images import Rgb, to_pixels
from engine.diffusion.latents import encode
from engine.diffusion.loading import Components
from engine.diffusion.modes.txt2img import embeds_of, flow_of
from engine.diffusion.noise import recipe_generators, recipe_noise
from engine.diffusion.schedulers import build_scheduler
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
    rng = recipe_generators(recipe)
    scheduler = build_scheduler(recipe.scheduler, components.scheduler_config, recipe.schedule)
    with torch.inference_mode():
        clean = encode(components, to_pixels(source).repeat(recipe.count, 1, 1, 1), rng)
        shape = (clean.shape[1], clean.shape[2], clean.shape[3])
        flow = flow_of(components, scheduler, recipe.steps, shape)
        begin = set_steps(scheduler, recipe.steps, recipe.strength or 1.0, components.device, recipe.schedule, flow)
        drawn = recipe_noise(recipe, shape, rng, components.device) if noise is None else noise
        yield from denoise(
            components.denoiser,
            scheduler,
            name=recipe.scheduler,
            latents=start_from(scheduler, clean, drawn, begin),
            embeds=embeds_of(recipe, prompts),
            guidance=recipe.guidance,
            nudge=score_nudge(components, recipe),
            rng=rng,
            begin=begin,
            control=control,
            frozen=frozen,
            extra=_all_masked(clean) if components.is_inpainting else None,
        )


def _all_masked(clean: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.ones_like(clean[:, :1]), torch.zeros_like(clean)], dim=1)
