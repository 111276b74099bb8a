"""A picture from words."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from engine.contract.recipe import Recipe
from engine.diffusion.denoise import Step, denoise
from engine.diffusion.guidance import is_guided
from engine.diffusion.loading import Components
from engine.diffusion.noise import generators, initial_noise
from engine.diffusion.schedulers import build_scheduler
from engine.diffusion.text import PromptEncoder


def text_to_image(components: Components, prompts: PromptEncoder, recipe: Recipe) -> Iterator[Step]:
    """The steps of all `recipe.count` pictures as one batch; the last step's `latents` are the clean ones."""
    count = recipe.count
    rng = generators([recipe.for_picture(index).seed for index in range(count)])
    shape = (components.latent_channels, recipe.height // components.vae_scale, recipe.width // components.vae_scale)
    with torch.inference_mode():
        embeds = prompts.encode(recipe.prompt, recipe.negative_prompt if is_guided(recipe.guidance_scale) else None)
        yield from denoise(
            components.unet,
            build_scheduler(recipe.scheduler, components.scheduler_config),
            name=recipe.scheduler,
            noise=initial_noise(shape, rng, components.device),
            embeds=embeds.repeat_interleave(count, dim=0),
            steps=recipe.steps,
            guidance_scale=recipe.guidance_scale,
            rng=rng,
        )
