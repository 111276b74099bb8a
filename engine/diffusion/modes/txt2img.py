"""A picture from words."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from engine.contract.recipe import Recipe
from engine.diffusion.controlnet import Control
from engine.diffusion.denoise import Step, denoise
from engine.diffusion.freezing import FrozenWalk
from engine.diffusion.loading import Components
from engine.diffusion.modes.beginning import begin_walk, embeds_of
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
    with torch.inference_mode():
        first = begin_walk(components, recipe)
        yield from denoise(
            components.denoiser,
            first.scheduler,
            name=recipe.scheduler,
            latents=first.pure_noise(recipe, components.device),
            embeds=embeds_of(recipe, prompts),
            guidance=recipe.guidance,
            nudge=score_nudge(components, recipe),
            rng=first.rng,
            begin=first.begin,
            control=control,
            frozen=frozen,
            extra=_nothing_known(components, recipe.count, first.shape) if components.is_inpainting else None,
        )


def _nothing_known(components: Components, count: int, shape: tuple[int, int, int]) -> torch.Tensor:
    # An inpainting checkpoint without a picture: everything is masked, nothing is known.
    channels, height, width = shape
    mask = torch.ones(count, 1, height, width, device=components.device)
    return torch.cat([mask, torch.zeros(count, channels, height, width, device=components.device)], dim=1)
