"""What a host drives: keeps a model resident and turns work into messages."""

from __future__ import annotations

import time
from collections.abc import Generator
from math import ceil
from pathlib import Path

import torch

from engine.contract.errors import OutOfMemory
from engine.contract.recipe import Recipe
from engine.contract.work import HostMessage, Loads, Pixels, Stepped, Work
from engine.diffusion.device import pick_device, pick_dtype
from engine.diffusion.images import to_rgb_bytes
from engine.diffusion.latents import check_latents, decode
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.text import PromptEncoder


class Painter:
    """One model on one device. Runs change nothing in it, so stopping anywhere leaves it clean."""

    def __init__(self, *, device: str = "auto", dtype: str = "auto", previews: bool = True) -> None:
        self._device = pick_device(device)
        self._dtype = pick_dtype(dtype, self._device)
        self._previews = previews
        self._components: Components | None = None
        self._prompts: PromptEncoder | None = None

    def load(self, folder: Path) -> tuple[Components, PromptEncoder]:
        """The model of this folder, from memory when it is the resident one."""
        if self._components is None or self._prompts is None or self._components.folder != folder:
            # Let go first: two models at once may not fit.
            self._components = self._prompts = None
            self._components = load_components(folder, device=self._device, dtype=self._dtype)
            self._prompts = PromptEncoder(self._components)
        return self._components, self._prompts

    def paint(self, work: Work) -> Generator[HostMessage, None, None]:
        """Draw each picture of the work in turn. One at a time gives each picture the bytes that it has alone."""
        if self._components is None or self._components.folder != work.model_folder:
            yield Loads(f"Loading {work.recipe.model}")
        try:
            components, prompts = self.load(work.model_folder)
            for index in range(work.recipe.count):
                if index not in work.skip:
                    yield from self._paint_one(components, prompts, work.recipe.for_picture(index), index)
        except torch.OutOfMemoryError as error:
            raise _out_of_memory(work.recipe) from error
        except RuntimeError as error:
            # The CPU allocator has no exception type of its own.
            if "not enough memory" in str(error) or "can't allocate memory" in str(error):
                raise _out_of_memory(work.recipe) from error
            raise

    def _paint_one(self, components: Components, prompts: PromptEncoder, recipe: Recipe, index: int) -> Generator[HostMessage, None, None]:
        start = time.perf_counter()
        latents = None
        for step in text_to_image(components, prompts, recipe):
            check_latents(step.latents)
            latents = step.latents
            # Second-order samplers call the model more often than the person asked for steps.
            shown = ceil((step.index + 1) * recipe.steps / step.total)
            preview = components.preview.jpeg(step.denoised[0]) if self._previews else None
            yield Stepped(index, shown, recipe.steps, preview)
        assert latents is not None
        with torch.inference_mode():
            pixels = decode(components, latents)[0]
        rgb = to_rgb_bytes(pixels)
        yield Pixels(index, pixels.shape[2], pixels.shape[1], rgb, time.perf_counter() - start)


def _out_of_memory(recipe: Recipe) -> OutOfMemory:
    smaller = (recipe.width * 3 // 4 // 64 * 64, recipe.height * 3 // 4 // 64 * 64)
    return OutOfMemory(f"There is not enough memory for {recipe.width} × {recipe.height}.", f"Try {smaller[0]} × {smaller[1]}.", "width")
