"""A picture from words."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from engine.contract.recipe import Recipe
from engine.diffusion.conditioning import Embeds
from engine.diffusion.controlnet import Control
from engine.diffusion.denoise import Step, denoise, set_steps, start_noise
from engine.diffusion.freezing import FrozenWalk
from engine.diffusion.loading import Components
from engine.diffusion.noise import recipe_generators, recipe_noise
from engine.diffusion.references import Illustrated
from engine.diffusion.schedulers import build_scheduler
from engine.diffusion.score_guidance import score_nudge
from engine.diffusion.text import PromptEncoder


def text_to_image(
    components: Components,
    prompts: PromptEncoder,
    recipe: Recipe,
    *,
    control: Control | None = None,
    frozen: FrozenWalk | None = None,
) -> Iterator[Step]:
    """The steps of all `recipe.count` pictures as one batch; the last step's `latents` are the clean ones."""
    rng = recipe_generators(recipe)
    scheduler = build_scheduler(recipe.scheduler, components.scheduler_config, recipe.schedule)
    shape = (components.latent_channels, recipe.height // components.vae_scale, recipe.width // components.vae_scale)
    with torch.inference_mode():
        begin = set_steps(scheduler, recipe.steps, 1.0, components.device, recipe.schedule)
        yield from denoise(
            components.unet,
            scheduler,
            name=recipe.scheduler,
            latents=start_noise(scheduler, recipe_noise(recipe, shape, rng, components.device)),
            embeds=embeds_of(recipe, prompts),
            guidance=recipe.guidance,
            nudge=score_nudge(components, recipe),
            rng=rng,
            begin=begin,
            control=control,
            frozen=frozen,
            extra=_nothing_known(components, recipe.count, shape) if components.is_inpainting else None,
        )


def embeds_of(recipe: Recipe, prompts: PromptEncoder) -> Embeds:
    """(B, tokens, dim), or (2B, tokens, dim) with the negative half first where guidance is on.

    For each model call where words change on the way, or pictures are shown beside them.
    """
    negative_prompt = recipe.negative_prompt if recipe.guidance.uses_negative else None
    words = prompts.over_steps(recipe.prompt, negative_prompt, steps=recipe.steps_run, count=recipe.count)
    return Illustrated(words, prompts.shown, recipe.count) if prompts.shown else words


def _nothing_known(components: Components, count: int, shape: tuple[int, int, int]) -> torch.Tensor:
    # An inpainting checkpoint without a picture: everything is masked, nothing is known.
    channels, height, width = shape
    mask = torch.ones(count, 1, height, width, device=components.device)
    return torch.cat([mask, torch.zeros(count, channels, height, width, device=components.device)], dim=1)
