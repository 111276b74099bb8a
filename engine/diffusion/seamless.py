"""Textures that tile: convolutions see the opposite edge instead of a border, for as long as the context lasts."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional as F

from engine.contract.requests import Seamless


@contextmanager
def seamless(modules: list[torch.nn.Module], axes: Seamless | None) -> Generator[None]:
    """Wrap every convolution of `modules` around along x, y or both. Weights are not touched; leaving restores each layer."""
    layers: list[Any] = []
    if axes is not None:
        layers = [layer for module in modules for layer in module.modules() if isinstance(layer, torch.nn.Conv2d) and any(_padding(layer))]
    try:
        for layer in layers:
            layer._conv_forward = _wrapped(layer, axes or "xy")
        yield
    finally:
        for layer in layers:
            # The instance attribute hid the class's own method; without it the layer is what it was.
            layer.__dict__.pop("_conv_forward", None)


def _padding(layer: torch.nn.Conv2d) -> tuple[int, int]:
    return (0, 0) if isinstance(layer.padding, str) else (int(layer.padding[0]), int(layer.padding[1]))


def _wrapped(layer: torch.nn.Conv2d, axes: Seamless) -> Any:
    high, wide = _padding(layer)

    def forward(sample: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        sample = F.pad(sample, (wide, wide, 0, 0), mode="circular" if "x" in axes else "constant")
        sample = F.pad(sample, (0, 0, high, high), mode="circular" if "y" in axes else "constant")
        return F.conv2d(sample, weight, bias, layer.stride, 0, layer.dilation, layer.groups)

    return forward
