"""A picture changed as a sentence says: the model reads the source, and more pictures, as tokens beside the one that it draws."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from engine.contract.editing import Editor, cannot_edit, within_area
from engine.contract.errors import InvalidRequest
from engine.contract.recipe import Recipe
from engine.diffusion.conditioning import Embeds, Told, tell
from engine.diffusion.denoise import Step, denoise
from engine.diffusion.freezing import FrozenWalk
from engine.diffusion.images import Rgb, resized, to_pixels
from engine.diffusion.latents import encode_as_is
from engine.diffusion.loading import Components
from engine.diffusion.modes.beginning import begin_walk, embeds_of
from engine.diffusion.text import PromptEncoder


def edit(
    components: Components,
    prompts: PromptEncoder,
    recipe: Recipe,
    pictures: tuple[Rgb, ...],
    *,
    frozen: FrozenWalk | None = None,
) -> Iterator[Step]:
    """The steps of all pictures of the recipe as one batch. `pictures` (H, W, 3) of any size, the source first.

    In the form of diffusers' FluxKontextPipeline, Flux2KleinPipeline and QwenImageEditPipeline: the walk begins at pure
    noise, and no noise is added to what stands beside it. Raises `InvalidRequest` for a model that cannot edit.
    """
    editor = components.editor
    if editor is None:
        raise InvalidRequest(cannot_edit(recipe.model), "Choose one of these models.", "model")
    with torch.inference_mode(), prompts.before(pictures, recipe.inputs):
        # Words first: what is wrong with them is said before a large picture is read.
        words = embeds_of(recipe, prompts)
        beside = tuple(encode_as_is(components, to_pixels(as_seen(editor, one))) for one in pictures)
        first = begin_walk(components, recipe)
        yield from denoise(
            components.denoiser,
            first.scheduler,
            name=recipe.scheduler,
            latents=first.pure_noise(recipe, components.device),
            embeds=_Beside(words, beside),
            guidance=recipe.guidance,
            rng=first.rng,
            begin=first.begin,
            frozen=frozen,
        )


def as_seen(editor: Editor, picture: Rgb) -> Rgb:
    """The picture at the size at which the model looks at it: bent to it, or made small enough and cut in the middle."""
    own = (picture.shape[1], picture.shape[0])
    size = editor.looks_at(own)
    if not editor.crops:
        return resized(picture, size)
    room = within_area(own)
    smaller = picture if room == own else resized(picture, room)
    left, top = (room[0] - size[0]) // 2, (room[1] - size[1]) // 2
    return smaller[top : top + size[1], left : left + size[0]]


@dataclass(frozen=True)
class _Beside:
    """Words with pictures beside the sample, each (1, C, h, w): the same for every row."""

    words: Embeds
    pictures: tuple[torch.Tensor, ...]

    def __call__(self, index: int, total: int) -> Told:
        told = tell(self.words, index, total)
        return replace(told, beside=tuple(one.expand(len(told), -1, -1, -1) for one in self.pictures))
