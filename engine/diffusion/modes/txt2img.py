"""A picture from words."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from engine.contract.recipe import Recipe
from engine.diffusion.conditioning import Embeds, Told, tell
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
        begin = set_steps(scheduler, recipe.steps, 1.0, components.device, recipe.schedule, flow_of(components, scheduler, recipe.steps, shape))
        yield from denoise(
            components.denoiser,
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
    """B rows, or 2B with the negative half first where guidance is on.

    For each model call where words change on the way, or pictures are shown beside them. A model that was distilled with
    guidance is told the number.
    """
    negative_prompt = recipe.negative_prompt if recipe.guidance.uses_negative else None
    words = prompts.over_steps(recipe.prompt, negative_prompt, steps=recipe.steps_run, count=recipe.count)
    if recipe.guidance_kind == "told":
        words = _Numbered(words, recipe.guidance_scale)
    return Illustrated(words, prompts.shown, recipe.count) if prompts.shown else words


@dataclass(frozen=True)
class _Numbered:
    """Words with the guidance beside them, for a model that takes it as an input."""

    words: Embeds
    guidance_scale: float

    def __call__(self, index: int, total: int) -> Told:
        told = tell(self.words, index, total)
        number = torch.full((len(told),), self.guidance_scale, device=told.words.device, dtype=torch.float32)
        return replace(told, aside={**told.aside, "guidance": number})


def flow_of(components: Components, scheduler: Any, steps: int, shape: tuple[int, int, int]) -> dict[str, Any] | None:
    """How a flow family lays out its steps for latents of this shape (C, h, w); None for the others."""
    facts = components.family.facts
    if facts.flow is None:
        return None
    tokens = facts.tokens(shape[2] * components.vae_scale, shape[1] * components.vae_scale)
    # Not every class can be given its places; what it cannot take it lays out itself, as even and as shifted.
    known = set(inspect.signature(scheduler.set_timesteps).parameters) - (set() if scheduler.config.get("use_dynamic_shifting") else {"mu"})
    return {name: value for name, value in facts.flow(scheduler.config, steps, tokens).items() if name in known}


def _nothing_known(components: Components, count: int, shape: tuple[int, int, int]) -> torch.Tensor:
    # An inpainting checkpoint without a picture: everything is masked, nothing is known.
    channels, height, width = shape
    mask = torch.ones(count, 1, height, width, device=components.device)
    return torch.cat([mask, torch.zeros(count, channels, height, width, device=components.device)], dim=1)
