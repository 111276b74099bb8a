"""Pictures made larger before the model draws over them: by a trained network, through the latents, or by a plain filter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from engine.contract.errors import DamagedFile
from engine.contract.tiles import Tile, plan_tiles
from engine.diffusion.device import unless_memory_ran_out
from engine.diffusion.images import Rgb, resize, to_pixels, to_rgb
from engine.diffusion.latents import decode, encode
from engine.diffusion.loading import Components
from engine.diffusion.parts import Stay
from engine.diffusion.reading import file_bytes
from engine.weights.headers import judge_header

# Source pixels that go through an upscaler at once, and how far its view reaches beyond them.
_TILE, _MARGIN = 256, 32
# What a tile takes on its way through, as a rule of thumb: some dozens of sheets of 64 channels in float32.
_WORK_BYTES = 512 * 1024**2
# What it is called beside the parts of a model.
_NAME = "upscaler"

Enlarger = Callable[[Rgb], Rgb]


@dataclass(frozen=True)
class Upscaler:
    """A network and its scale. `use` brings it onto the device, with room to work in."""

    network: Any
    scale: int
    use: Callable[[], None]


class UpscalerShelf:
    """Keeps the one that was used last, counted with the model that it was read for."""

    def __init__(self) -> None:
        self._key: tuple[Path, int] | None = None
        self._kept: Upscaler | None = None
        self._stay: Stay | None = None

    def on(self, components: Components, path: Path | None) -> Upscaler | None:
        """None where the recipe names no file. Raises `DamagedFile` about the control "upscaler"."""
        if path is None:
            return None
        key = (path, path.stat().st_mtime_ns if path.is_file() else 0)
        if self._key != key:
            # Let go first: two at once may not fit.
            if self._stay is not None:
                self._stay.forget([_NAME])
            self._key = self._kept = self._stay = None
            self._kept = _counted(components, path)
            self._key, self._stay = key, components.stay
        return self._kept


def _counted(components: Components, path: Path) -> Upscaler:
    stay, device = components.stay, components.device
    if stay is None:
        return Upscaler(*load_upscaler(path, device), lambda: None)
    stay.make_room(file_bytes(path))
    network, scale = load_upscaler(path, device)
    stay.hold(_NAME, network, lambda place: load_upscaler(path, place)[0])
    return Upscaler(network, scale, lambda: stay.bring(_NAME, spare=_WORK_BYTES))


def load_upscaler(path: Path, device: torch.device) -> tuple[Any, int]:
    """A network that spandrel knows and its scale. The header is judged first. Raises `DamagedFile`."""
    try:
        judge_header(path)
    except DamagedFile as error:
        raise DamagedFile(error.message, error.hint, "upscaler") from error
    from spandrel import ImageModelDescriptor, ModelLoader

    try:
        found = ModelLoader(device=device).load_from_file(path)
    except Exception as error:  # The loader tries every architecture on somebody's file: anything can come out of it.
        unless_memory_ran_out(error)
        raise DamagedFile(f"{path.name} is no upscaler that Easel knows.", "Choose another one from the list.", "upscaler") from error
    if not isinstance(found, ImageModelDescriptor) or found.input_channels != 3 or found.output_channels != 3 or found.scale < 2:
        raise DamagedFile(f"{path.name} does not enlarge pictures.", "Choose another one from the list.", "upscaler")
    return found.model.eval().float(), int(found.scale)


def enlarge(image: Rgb, factor: int, name: str, *, upscaler: Upscaler | None, components: Components) -> Iterator[Rgb]:
    """Yield the picture after each pass; the last one is `factor` times as large. Memory follows the tile, not the picture."""
    width, height = image.shape[1] * factor, image.shape[0] * factor
    if upscaler is not None:
        network = upscaler.network
        while image.shape[1] < width:
            upscaler.use()
            image = in_tiles(image, upscaler.scale, lambda part: _through(network, part, components.device))
            yield image
    elif name == "latent":
        image = in_tiles(image, factor, lambda part: _through_latents(components, part, factor), tile=128, grid=components.vae_scale)
    yield resize(image, width, height)


def in_tiles(image: Rgb, scale: int, make: Enlarger, *, tile: int = _TILE, margin: int = _MARGIN, grid: int = 8) -> Rgb:
    """`make` over tiles that overlap by twice `margin`, only the middle of each being kept.

    Away from the borders the result is that of the whole picture at once, as long as `make` looks no further than `margin`.
    """
    height, width = image.shape[:2]
    out = np.empty((height * scale, width * scale, 3), np.uint8)
    for one in plan_tiles(width, height, tile + 2 * margin, tile + 2 * margin, 2 * margin):
        x0, y0, x1, y1 = one.box
        made = make(_padded(image[y0:y1, x0:x1], grid))
        left, top = one.left_blend // 2, one.top_blend // 2
        kept = made[top * scale : (y1 - y0) * scale, left * scale : (x1 - x0) * scale]
        out[(y0 + top) * scale : y1 * scale, (x0 + left) * scale : x1 * scale] = kept
    return out


def _padded(image: Rgb, grid: int) -> Rgb:
    height, width = image.shape[:2]
    return np.pad(image, ((0, -height % grid), (0, -width % grid), (0, 0)), mode="edge")


def _through(model: Any, image: Rgb, device: torch.device) -> Rgb:
    with torch.inference_mode():
        made = model(((to_pixels(image) + 1) / 2).to(device))
    return to_rgb(made[0] * 2 - 1)


def _through_latents(components: Components, image: Rgb, factor: int) -> Rgb:
    """Bicubic in the latents: colours stay, edges soften, and what the decoder makes of it is new detail."""
    with torch.inference_mode():
        latents = encode(components, to_pixels(image), [torch.Generator().manual_seed(0)])
        return to_rgb(decode(components, F.interpolate(latents, scale_factor=factor, mode="bicubic"))[0])


class Quilt:
    """Tiles laid onto a canvas, row by row. Each comes in on a ramp over its overlaps, so no edge shows.

    Tiles of a row are joined with each other first, and the row with what lies above it after that. One weight for both
    would leave an edge where a left neighbour ends inside the upper overlap.
    """

    def __init__(self, canvas: Rgb) -> None:
        self.canvas = canvas
        self._above = self._row = canvas[:0]

    def lay(self, tile: Tile, made: Rgb) -> None:
        x0, y0, x1, y1 = tile.box
        if x0 == 0:
            self._above, self._row = self.canvas[y0:y1].copy(), self.canvas[y0:y1].copy()
        self._row[:, x0:x1] = mix(self._row[:, x0:x1], made, ramp(tile.width, tile.left_blend)[None, :, None])
        self.canvas[y0:y1, x0:x1] = mix(self._above[:, x0:x1], self._row[:, x0:x1], ramp(tile.height, tile.top_blend)[:, None, None])


def mix(old: Rgb, new: Rgb, share: NDArray[np.float32]) -> Rgb:
    """`share` of the new picture, the rest of the old one."""
    return np.rint(old * (1 - share) + new * share).astype(np.uint8)


def ramp(length: int, blend: int) -> NDArray[np.float32]:
    """(length) from 0 to 1 over the first `blend` pixels, then 1."""
    share = np.ones(length, np.float32)
    # Half a cosine: smooth at both ends, so the eye finds no line where it starts.
    share[:blend] = 0.5 - 0.5 * np.cos(np.pi * (np.arange(blend) + 0.5) / max(blend, 1))
    return share
