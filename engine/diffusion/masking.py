"""What an inpainting run works on: the grown canvas, the feathered mask, the part that is drawn, and how it is put back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.contract.errors import InvalidRequest
from engine.contract.recipe import Recipe
from engine.contract.requests import Fill
from engine.diffusion.images import Mask, Rgb, pad_edges, resize
from engine.diffusion.schedulers import noised


@dataclass(frozen=True)
class Repaint:
    """canvas (H, W, 3) and mask (H, W): the whole picture. box: left, top, right, bottom of the part that is drawn.

    part (h, w, 3) and part_mask (h, w): that part at the size that the model draws. is_grown: the frame
    is larger than the source.
    """

    canvas: Rgb
    mask: Mask
    box: tuple[int, int, int, int]
    part: Rgb
    part_mask: Mask
    is_grown: bool = False


def plan_repaint(recipe: Recipe, source: Rgb, painted: Mask | None, *, multiple: int = 8) -> Repaint:
    """Everything about an inpainting run that needs no model but the step of its sizes. Raises `InvalidRequest` when there is nothing to repaint."""
    canvas = pad_edges(source, *recipe.expand)
    mask = grow_mask(source.shape[:2], painted, recipe.expand, recipe.feather or 0.0)
    if not mask.any():
        raise InvalidRequest("The mask is empty.", "Paint over what should change.", "mask")
    height, width = mask.shape
    box = (0, 0, width, height)
    if recipe.region == "masked":
        box = crop_box(mask, recipe.padding or 0, recipe.width / recipe.height)
    x0, y0, x1, y1 = box
    size = work_size(x1 - x0, y1 - y0, recipe.width * recipe.height, multiple)
    part_mask = np.asarray(cv2.resize(mask[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA), np.float32)
    part = fill_masked(resize(canvas[y0:y1, x0:x1], *size), part_mask, recipe.fill or "original", seed=recipe.seed)
    return Repaint(canvas, mask, box, part, part_mask, is_grown=any(recipe.expand))


def grow_mask(size: tuple[int, int], painted: Mask | None, expand: tuple[int, int, int, int], width: float) -> Mask:
    """The painted mask, feathered over `width` pixels, on the grown canvas whose new border is masked.

    A strip of the old picture beside the border fades out under the new one: the seam needs something to grip, and the
    eye a way to cross it. Without growth on a side nothing is touched there.
    """
    height, breadth = size
    left, top, right, bottom = expand
    mask = np.zeros((height + top + bottom, breadth + left + right), np.float32)
    if painted is not None:
        mask[top : top + height, left : left + breadth] = painted
    mask = feather(mask, width)
    if not any(expand):
        return mask
    strip = seam_width(height, breadth)
    border = np.ones_like(mask)
    rows = slice(top + strip * bool(top), top + height - strip * bool(bottom))
    columns = slice(left + strip * bool(left), left + breadth - strip * bool(right))
    border[rows, columns] = 0
    return np.maximum(mask, feather(border, strip))


def seam_width(height: int, width: int) -> int:
    """Pixels of the old picture beside a new border that may change; half as many again are feathered."""
    return min(24, max(8, min(height, width) // 10))


def feather(mask: Mask, width: float) -> Mask:
    """Soften the edge over about `width` pixels, half inside and half outside. Exactly 0 beyond that: there nothing changes."""
    if width < 1:
        return mask
    # Two boxes make a slope with a firm end, which a Gaussian does not have.
    side = max(1, round(width / 2))
    kernel = (side | 1, side | 1)
    soft = cv2.blur(cv2.blur(mask, kernel, borderType=cv2.BORDER_REPLICATE), kernel, borderType=cv2.BORDER_REPLICATE)
    soft[soft < 1 / 512] = 0
    return np.asarray(np.minimum(soft, 1), np.float32)


def crop_box(mask: Mask, padding: int, aspect: float) -> tuple[int, int, int, int]:
    """The masked part with `padding` around it, widened towards the aspect of the model's size and kept inside the picture."""
    height, width = mask.shape
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    x0, x1 = max(0, int(columns[0]) - padding), min(width, int(columns[-1]) + 1 + padding)
    y0, y1 = max(0, int(rows[0]) - padding), min(height, int(rows[-1]) + 1 + padding)
    wanted_width, wanted_height = max(x1 - x0, round((y1 - y0) * aspect)), max(y1 - y0, round((x1 - x0) / aspect))
    x0, x1 = _widen(x0, x1, wanted_width, width)
    y0, y1 = _widen(y0, y1, wanted_height, height)
    return x0, y0, x1, y1


def _widen(start: int, end: int, wanted: int, limit: int) -> tuple[int, int]:
    wanted = min(wanted, limit)
    start = max(0, min(start - (wanted - (end - start)) // 2, limit - wanted))
    return start, max(end, start + wanted)


def work_size(width: int, height: int, area: int, multiple: int = 8) -> tuple[int, int]:
    """The size at which a part of `width` × `height` is drawn: its shape, about `area` pixels, multiples of `multiple`, at least 64."""
    scale = (area / (width * height)) ** 0.5
    return max(64, round(width * scale / multiple) * multiple), max(64, round(height * scale / multiple) * multiple)


def fill_masked(image: Rgb, mask: Mask, how: Fill, *, seed: int) -> Rgb:
    """What lies under the mask before the model begins: itself, a blur of itself, the colours around it, or noise."""
    if how == "original":
        return image
    if how == "noise":
        paint = np.random.default_rng(seed).integers(0, 256, image.shape).astype(np.float32)
    elif how == "blur":
        paint = np.asarray(cv2.GaussianBlur(image, (0, 0), max(4.0, max(image.shape) / 24)), np.float32)
    else:
        paint = surrounding_colours(image, mask)
    weight = mask[..., None]
    return np.clip(np.rint(image * (1 - weight) + paint * weight), 0, 255).astype(np.uint8)


def surrounding_colours(image: Rgb, mask: Mask) -> NDArray[np.float32]:
    """Known colours flow into the masked part: averaged down a pyramid, brought back up where nothing is known."""
    known = (mask < 0.5).astype(np.float32)[..., None]
    return _flow(image.astype(np.float32) * known, known)[..., :3]


def _flow(colour: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = weight.shape[:2]
    if float(weight.min()) > 0 or max(height, width) <= 2:
        mean = colour.sum((0, 1)) / max(float(weight.sum()), 1e-6)
        return np.where(weight > 0, colour / np.maximum(weight, 1e-6), mean).astype(np.float32)
    half = ((width + 1) // 2, (height + 1) // 2)
    below = _flow(
        np.asarray(cv2.resize(colour, half, interpolation=cv2.INTER_AREA), np.float32).reshape(half[1], half[0], 3),
        np.asarray(cv2.resize(weight, half, interpolation=cv2.INTER_AREA), np.float32).reshape(half[1], half[0], 1),
    )
    above = cv2.resize(below, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(weight > 0, colour / np.maximum(weight, 1e-6), above).astype(np.float32)


def to_latent_mask(mask: Mask, scale: int, device: torch.device) -> torch.Tensor:
    """(h, w) at pixel size → (1, 1, h/scale, w/scale) float32. A latent is repainted as much as the most of its pixels: thin strokes count."""
    return torch.nn.functional.max_pool2d(torch.from_numpy(mask)[None, None], scale).to(device)


class KeepOutside:
    """After each step, puts the source with its due noise back where the mask says keep.

    clean, noise (B, C, h, w) and mask (1, 1, h, w). With `is_soft` a latent is held until the share of the walk that is
    left equals its mask value, so that grey means "change a little" (Levin & Fried 2023, Differential Diffusion).
    """

    def __init__(self, clean: torch.Tensor, noise: torch.Tensor, mask: torch.Tensor, *, is_soft: bool) -> None:
        self._clean, self._noise, self._mask, self._is_soft = clean, noise, mask, is_soft

    def __call__(self, latents: torch.Tensor, scheduler: object, index: int, timesteps: torch.Tensor) -> torch.Tensor:
        total = len(timesteps)
        known = self._clean
        if index < total - 1:
            known = noised(scheduler, known, self._noise, timesteps[index + 1 : index + 2])
        mask = self._mask
        if self._is_soft:
            mask = ((mask > 0) & (mask >= 1 - (index + 1) / total)).to(latents.dtype)
        return (1 - mask) * known + mask * latents


def put_back(plan: Repaint, drawn: Rgb) -> Rgb:
    """The canvas with the drawn part blended in by the mask. Where the mask is 0, every byte is the canvas's own."""
    x0, y0, x1, y1 = plan.box
    result = plan.canvas.copy()
    weight = plan.mask[y0:y1, x0:x1, None]
    old = result[y0:y1, x0:x1]
    new = resize(drawn, x1 - x0, y1 - y0)
    if plan.is_grown:
        new = match_seam(old, new, weight)
    mixed = np.rint(old * (1 - weight) + new * weight).astype(np.uint8)
    result[y0:y1, x0:x1] = np.where(weight > 0, mixed, old)
    return result


def match_seam(old: Rgb, new: Rgb, weight: Mask, *, limit: float = 32.0) -> Rgb:
    """`new` with its colours moved to those of `old` at the seam, less and less away from it. All (H, W, 3); weight (H, W, 1).

    In the outer half of the seam both pictures show the same place; how they differ there flows inwards as a smooth
    membrane (Pérez et al. 2003, here by a pyramid). `limit`, in 8-bit levels, keeps things that meet no partner from bleeding.
    """
    seam = ((weight > 0) & (weight < 0.5)).astype(np.float32)
    if not seam.any():
        return new
    drift = np.clip(old.astype(np.float32) - new, -limit, limit)
    return np.clip(np.rint(new + _flow(drift * seam, seam)), 0, 255).astype(np.uint8)
