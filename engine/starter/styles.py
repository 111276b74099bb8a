"""Looks that a drawn scene can take on: what the bundled LoRAs learn. A scene in, the same scene in another hand out."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Plane = NDArray[np.float32]
Style = Callable[[Picture, np.random.Generator], Picture]


def ink(image: Picture, rng: np.random.Generator) -> Picture:
    """Five washes of one ink on warm paper, darker where they meet."""
    calm = image
    for _ in range(2):
        calm = np.asarray(cv2.bilateralFilter(calm, 9, 50, 7), np.uint8)
    grey = np.clip((_grey(calm) - 0.12) * 1.25, 0, 1)
    washes = cv2.GaussianBlur(np.rint(grey * 4).astype(np.float32) / 4, (0, 0), 1.2)
    pools = cv2.GaussianBlur(_edges(calm, 40, 110), (0, 0), 1.3) * 0.55
    cloud = cv2.resize(rng.normal(0, 0.035, (7, 7)).astype(np.float32), image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return _mix(np.clip(1 - washes + pools + cloud, 0, 1), (26, 27, 34), (247, 241, 226))


def watercolour(image: Picture, rng: np.random.Generator) -> Picture:
    """Pale washes that pool at their borders, on grained paper with an unpainted edge."""
    wash = image
    for _ in range(3):
        wash = np.asarray(cv2.bilateralFilter(wash, 9, 60, 7), np.uint8)
    pale = wash.astype(np.float32) * 0.62 + 92
    rim = cv2.GaussianBlur(_edges(wash, 30, 80), (0, 0), 1.4)
    grain = cv2.GaussianBlur(rng.normal(0, 1, image.shape[:2]).astype(np.float32), (0, 0), 0.8)
    pale = pale - rim[..., None] * 46 + grain[..., None] * 9
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    ragged = cv2.resize(rng.normal(0, 4, (12, 12)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    border = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y)) + ragged
    inside = np.clip((border - 8) / 6, 0, 1)[..., None]
    return _levels(pale * inside + np.array((250, 248, 242), np.float32) * (1 - inside))


def neon(image: Picture, rng: np.random.Generator) -> Picture:
    """Glowing outlines in the scene's own hues over a near-black ground."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = np.maximum(hsv[..., 1], 190)
    hsv[..., 2] = 255
    colour = cv2.GaussianBlur(np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float32), (0, 0), 3)
    lines = cv2.dilate(_edges(image, 50, 120), np.ones((2, 2), np.uint8))
    glow = cv2.GaussianBlur(lines, (0, 0), 4) * 1.6 + cv2.GaussianBlur(lines, (0, 0), 10) * 1.4 + lines
    ground = np.asarray(image, np.float32) * np.array((0.10, 0.07, 0.16), np.float32) + np.array((8, 5, 16), np.float32)
    return _levels(ground + colour * glow[..., None] + rng.normal(0, 1, image.shape))


def blueprint(image: Picture, rng: np.random.Generator) -> Picture:
    """White lines and a fine grid on blue paper."""
    height, width = image.shape[:2]
    grid = np.zeros((height, width), np.float32)
    offset = int(rng.integers(0, 16))
    grid[offset::16, :] = 0.16
    grid[:, offset::16] = 0.16
    fill = (1 - _grey(image)) * 0.16
    light = np.clip(np.maximum(grid, cv2.GaussianBlur(_edges(image, 50, 130), (0, 0), 0.6) * 1.4) + fill, 0, 1)
    return _mix(1 - light, (28, 66, 138), (236, 244, 252))


STYLES: dict[str, Style] = {"ink": ink, "watercolour": watercolour, "neon": neon, "blueprint": blueprint}
# What the captions of each say: a prompt with these words asks for the style once its LoRA is on.
TRIGGERS = {
    "ink": "ink wash", "watercolour": "watercolour", "neon": "neon lights", "blueprint": "blueprint",
}  # fmt: skip
TITLES = {
    "ink": "Ink wash: greys on warm paper", "watercolour": "Watercolour: pale washes", "neon": "Neon: glowing outlines",
    "blueprint": "Blueprint: white on blue",
}  # fmt: skip


def _grey(image: Picture) -> Plane:
    """(H, W) from 0 to 1."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32) / np.float32(255)


def _edges(image: Picture, low: int, high: int) -> Plane:
    smooth = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    return np.asarray(cv2.Canny(smooth, low, high), np.float32) / np.float32(255)


def _mix(dark: NDArray[np.floating], colour: tuple[int, int, int], paper: tuple[int, int, int]) -> Picture:
    return _levels(np.array(paper, np.float32) + dark[..., None] * (np.array(colour, np.float32) - np.array(paper, np.float32)))


def _levels(values: NDArray[np.floating]) -> Picture:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
