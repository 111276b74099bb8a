"""Textures that tile: convolutions see the opposite edge instead of a border, for as long as the context lasts.

An enlargement is drawn in tiles, whose edges are not the texture's: it is drawn longer instead, and its ends are joined.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from engine.contract.requests import Seamless
from engine.diffusion.images import Rgb
from engine.diffusion.upscalers import mix, ramp


@contextmanager
def seamless(modules: list[torch.nn.Module], axes: Seamless | None) -> Generator[None]:
    """Wrap every convolution of `modules` around along x, y or both. Weights are not touched; leaving restores each layer."""
    layers: list[Any] = []
    if axes is not None:
        layers = [layer for module in modules for layer in module.modules() if isinstance(layer, torch.nn.Conv2d) and any(_padding(layer))]
    try:
        for layer in layers:
            layer._conv_forward = _around(layer, axes or "xy")
        yield
    finally:
        for layer in layers:
            # The instance attribute hid the class's own method; without it the layer is what it was.
            layer.__dict__.pop("_conv_forward", None)


def _padding(layer: torch.nn.Conv2d) -> tuple[int, int]:
    return (0, 0) if isinstance(layer.padding, str) else (int(layer.padding[0]), int(layer.padding[1]))


def _around(layer: torch.nn.Conv2d, axes: Seamless) -> Any:
    high, wide = _padding(layer)

    def forward(sample: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        sample = F.pad(sample, (wide, wide, 0, 0), mode="circular" if "x" in axes else "constant")
        sample = F.pad(sample, (0, 0, high, high), mode="circular" if "y" in axes else "constant")
        return F.conv2d(sample, weight, bias, layer.stride, 0, layer.dilation, layer.groups)

    return forward


def lengthen(image: Rgb, axes: Seamless | None, by: int) -> Rgb:
    """The picture with its first `by` columns (x) or rows (y) once more behind its end; never more than half of it."""
    high, wide = (min(by, edge // 2) if axis in (axes or "") else 0 for axis, edge in zip("yx", image.shape[:2], strict=True))
    return np.ascontiguousarray(np.pad(image, ((0, high), (0, wide), (0, 0)), mode="wrap"))


def join_ends(image: Rgb, width: int, height: int) -> Rgb:
    """What lies behind `width` and `height` laid over the start on a ramp and cut off: the end goes on there without an edge."""
    high, wide = image.shape[0] - height, image.shape[1] - width
    if wide:
        image = np.hstack([mix(image[:, width:], image[:, :wide], ramp(wide, wide)[None, :, None]), image[:, wide:width]])
    if high:
        image = np.vstack([mix(image[height:], image[:high], ramp(high, high)[:, None, None]), image[high:height]])
    return np.ascontiguousarray(image)


def wrapped(field: torch.Tensor, axes: Seamless | None, width: int, height: int) -> torch.Tensor:
    """Noise (B, C, h, w) that begins anew after `width` latents along x and `height` along y, where these tile."""
    rows, columns = torch.arange(field.shape[2]), torch.arange(field.shape[3])
    return field[:, :, rows % height if "y" in (axes or "") else rows][..., columns % width if "x" in (axes or "") else columns]
