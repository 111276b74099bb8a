"""How a walk begins, whatever its mode: the sampler laid out, a generator for each picture, the noise and the words."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import Any

import torch

from engine.contract.recipe import Recipe
from engine.diffusion.conditioning import Embeds, Told, tell
from engine.diffusion.denoise import set_steps, start_noise
from engine.diffusion.loading import Components
from engine.diffusion.noise import recipe_generators, recipe_noise
from engine.diffusion.references import Illustrated
from engine.diffusion.schedulers import build_scheduler
from engine.diffusion.text import PromptEncoder


@dataclass(frozen=True)
class Beginning:
    """`rng` are the generators of the pictures, `shape` (C, h, w) their latents, `begin` the model call to start at."""

    scheduler: Any
    rng: list[torch.Generator]
    shape: tuple[int, int, int]
    begin: int

    def noise(self, recipe: Recipe, device: torch.device) -> torch.Tensor:
        """Each picture's own noise as it is drawn, (B, C, h, w). Draws from `rng`."""
        return recipe_noise(recipe, self.shape, self.rng, device)

    def pure_noise(self, recipe: Recipe, device: torch.device) -> torch.Tensor:
        """The same in the scale that this sampler starts from."""
        return start_noise(self.scheduler, self.noise(recipe, device))


def begin_walk(components: Components, recipe: Recipe, *, size: tuple[int, int] | None = None, strength: float = 1.0) -> Beginning:
    """The sampler of the recipe laid out for pictures of `size` (width, height) pixels, else of the recipe's own. Nothing is drawn from a generator yet."""
    scheduler = build_scheduler(recipe.scheduler, components.scheduler_config, recipe.schedule)
    width, height = size or (recipe.width, recipe.height)
    shape = (components.latent_channels, height // components.vae_scale, width // components.vae_scale)
    flow = flow_of(components, scheduler, recipe.steps, shape)
    begin = set_steps(scheduler, recipe.steps, strength, components.device, recipe.schedule, flow)
    return Beginning(scheduler, recipe_generators(recipe), shape, begin)


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
