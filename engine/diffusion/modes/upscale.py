"""A larger picture: enlarged first, then drawn over tile by tile with the noise of one large canvas."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from engine.contract.errors import DamagedFile
from engine.contract.recipe import Recipe
from engine.contract.tiles import Tile, plan_tiles
from engine.diffusion.controlnet import Control, Overlay
from engine.diffusion.denoise import Step
from engine.diffusion.images import Rgb, read_rgb, to_rgb
from engine.diffusion.latents import decode
from engine.diffusion.loading import Components
from engine.diffusion.modes.img2img import image_to_image
from engine.diffusion.noise import generators, initial_noise
from engine.diffusion.seamless import join_ends, lengthen, wrapped
from engine.diffusion.text import PromptEncoder
from engine.diffusion.upscalers import Quilt, Upscaler, enlarge


@dataclass(frozen=True)
class Enlarging:
    """The plain enlargement is under way; `canvas` is how far it is."""

    canvas: Rgb


@dataclass(frozen=True)
class TileStep:
    """A step inside tile `tile` of `tiles`."""

    tile: int
    tiles: int
    step: Step


@dataclass(frozen=True)
class TileDone:
    """Tile `tile` is drawn. `canvas` is the whole picture so far; `is_new` tells it from one that an earlier run left."""

    tile: int
    tiles: int
    made: Rgb
    canvas: Rgb
    is_new: bool


def upscale(
    components: Components,
    prompts: PromptEncoder,
    recipe: Recipe,
    source: Rgb,
    *,
    upscaler: Upscaler | None,
    finished: Mapping[int, Path],
    overlay: Overlay,
) -> Generator[Enlarging | TileStep | TileDone, None, Rgb]:
    """Returns the large picture, (H·factor, W·factor, 3). Tiles in `finished` are read instead of drawn: the same bytes, sooner.

    All tiles share one canvas of noise and the same words, and come in on ramps over their overlaps: neighbours start
    from equal latents there and end nearly equal. A texture that tiles is enlarged with its start once more behind its
    end; the two meet on such a ramp too.
    """
    factor = recipe.factor or 2
    own_height, own_width = source.shape[0] * factor, source.shape[1] * factor
    canvas = source = lengthen(source, recipe.seamless, (recipe.overlap or 0) // factor)
    for canvas in enlarge(source, factor, recipe.upscaler or "lanczos", upscaler=upscaler, components=components):
        yield Enlarging(canvas)
    if not recipe.steps_run:
        return join_ends(canvas, own_width, own_height)
    height, width = canvas.shape[:2]
    large = np.ascontiguousarray(np.pad(canvas, ((0, max(0, recipe.height - height)), (0, max(0, recipe.width - width)), (0, 0)), mode="edge"))
    base = large.copy()
    tiles = plan_tiles(large.shape[1], large.shape[0], recipe.width, recipe.height, recipe.overlap or 0)
    scale = components.vae_scale
    field = initial_noise(
        (components.latent_channels, -(-large.shape[0] // scale), -(-large.shape[1] // scale)), generators([recipe.seed]), components.device
    )
    field = wrapped(field, recipe.seamless, own_width // scale, own_height // scale)
    # The maps lie over the whole picture, and grow at its edges as it does.
    wrap, edge = ((height - own_height, width - own_width), (large.shape[0] - height, large.shape[1] - width))
    overlay = overlay.over(own_width, own_height).redrawn(lambda unit: _grown(_grown(unit.map, wrap, "wrap"), edge, "edge"))
    quilt = Quilt(large)
    for number, tile in enumerate(tiles):
        made = _kept(finished.get(number), tile)
        is_new = made is None
        if made is None:
            control = overlay.part(tile.box, tile.width, tile.height)
            made = yield from _draw_tile(components, prompts, recipe, base, field, number, tiles, control)
        quilt.lay(tile, made)
        yield TileDone(number, len(tiles), made, large, is_new)
    return join_ends(large[:height, :width], own_width, own_height)


def _grown(image: Rgb, by: tuple[int, int], how: Literal["wrap", "edge"]) -> Rgb:
    """The picture with so many rows and columns more behind its end: its own start again, or its border repeated."""
    return np.pad(image, ((0, by[0]), (0, by[1]), (0, 0)), mode=how)


def _kept(path: Path | None, tile: Tile) -> Rgb | None:
    """A tile that an earlier run left; None where there is none or its file is damaged, which costs only drawing it again."""
    if path is None:
        return None
    try:
        made = read_rgb(path)
    except DamagedFile:
        return None
    return made if made.shape[:2] == (tile.height, tile.width) else None


def _draw_tile(
    components: Components,
    prompts: PromptEncoder,
    recipe: Recipe,
    base: Rgb,
    field: torch.Tensor,
    number: int,
    tiles: list[Tile],
    control: Control | None,
) -> Generator[TileStep, None, Rgb]:
    tile, scale = tiles[number], components.vae_scale
    x0, y0, x1, y1 = tile.box
    # The last tile of a row may lie between two latents; its noise is the nearest that fits.
    left, top = x0 // scale, y0 // scale
    noise = field[:, :, top : top + tile.height // scale, left : left + tile.width // scale]
    latents = None
    for step in image_to_image(components, prompts, recipe, np.ascontiguousarray(base[y0:y1, x0:x1]), noise=noise, control=control):
        latents = step.latents
        yield TileStep(number, len(tiles), step)
    assert latents is not None
    with torch.inference_mode():
        return to_rgb(decode(components, latents)[0])
