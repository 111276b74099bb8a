"""A depth estimator small enough to ship: it knows the starter's own kind of pictures, and roughly those like them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from engine.contract.errors import DamagedFile
from engine.diffusion.images import Rgb, resize, to_pixels
from engine.weights.headers import judge_header

BUNDLED_DEPTH = Path(__file__).resolve().parents[2] / "presets" / "preprocessors" / "starter-depth.safetensors"
CHANNELS = (16, 24, 40, 56, 64)
# It has seen pictures of one size; others are brought near it and their maps back.
_EDGE = 256
_GRID = 2 ** len(CHANNELS)
_FIELD = "controls"


class TinyDepth(nn.Module):
    """(B, 3, H, W) in [-1, 1], H and W multiples of 32 → (B, 1, H, W) in [0, 1], 1 near.

    A U-Net (Ronneberger et al. 2015, arXiv:1505.04597) whose skips are added instead of stacked: half the weights on the way up.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *CHANNELS)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(widths, CHANNELS, strict=False))
        self.middle = nn.Conv2d(CHANNELS[-1], CHANNELS[-1], 3, padding=1)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in pairwise(CHANNELS))
        self.out = nn.Conv2d(CHANNELS[0], 1, 3, padding=1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        skips: list[torch.Tensor] = []
        for layer in self.down:
            pixels = F.silu(layer(pixels))
            skips.append(pixels)
        features = skips.pop() + F.silu(self.middle(pixels))
        for layer in reversed(self.up):
            features = F.silu(layer(F.interpolate(features, scale_factor=2.0, mode="nearest"))) + skips.pop()
        # Smoothed at half the size, so that the last doubling leaves no steps.
        return torch.sigmoid(F.interpolate(self.out(features), scale_factor=2.0, mode="bilinear"))


def load_tiny_depth(path: Path = BUNDLED_DEPTH, *, device: torch.device | None = None) -> TinyDepth:
    """The estimator in float32, frozen. Raises `DamagedFile`."""
    try:
        judge_header(path)
        model = TinyDepth()
        model.load_state_dict(load_file(path))
    except (DamagedFile, RuntimeError, OSError) as error:
        raise DamagedFile(f"The depth estimator {path.name} cannot be read.", "Copy or download it again.", _FIELD) from error
    return model.to(device or torch.device("cpu")).eval().requires_grad_(False)


def estimate_depth(model: TinyDepth, image: Rgb) -> NDArray[np.uint8]:
    """(H, W) uint8 map of an (H, W, 3) uint8 picture of any size: near white, far black."""
    height, width = image.shape[:2]
    share = _EDGE / min(height, width)
    inner = (_on_grid(width * share), _on_grid(height * share))
    with torch.inference_mode():
        found = model(to_pixels(resize(image, *inner)).to(next(model.parameters()).device))[0, 0]
    near = cv2.resize(found.float().cpu().numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.rint(np.clip(near, 0, 1) * 255).astype(np.uint8)


def _on_grid(edge: float) -> int:
    return max(_GRID, round(edge / _GRID) * _GRID)
