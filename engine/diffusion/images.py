"""The only place where pixel ranges and layouts change. A picture outside of tensors is (H, W, 3) uint8."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from engine.contract.errors import DamagedFile
from engine.contract.requests import Fit

Rgb = NDArray[np.uint8]
# (H, W) float32, 0 keep to 1 repaint.
Mask = NDArray[np.float32]


def to_rgb(pixels: torch.Tensor) -> Rgb:
    """(3, H, W) in [-1, 1] → (H, W, 3) uint8, rounded as diffusers' image processor does."""
    unit = (pixels.float() / 2 + 0.5).clamp(0, 1)
    return (unit.permute(1, 2, 0).cpu() * 255).round().to(torch.uint8).contiguous().numpy()


def to_pixels(image: Rgb) -> torch.Tensor:
    """(H, W, 3) uint8 → (1, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None] / 255 * 2 - 1


def read_rgb(path: Path) -> Rgb:
    """A picture of the library of inputs. Raises `DamagedFile`."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DamagedFile("The source picture cannot be read any more.", "Choose it again.", "source")
    return np.ascontiguousarray(image[..., ::-1]).astype(np.uint8, copy=False)


def read_mask(path: Path) -> Mask:
    """A mask of the library of inputs. Raises `DamagedFile`."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise DamagedFile("The mask cannot be read any more.", "Paint it again.", "mask")
    return (image / np.float32(255)).astype(np.float32)


def resize(image: Rgb, width: int, height: int) -> Rgb:
    """Sharp when it grows, free of moiré when it shrinks."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = width * height < image.shape[0] * image.shape[1]
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4), np.uint8)


def resized(image: Rgb, size: tuple[int, int]) -> Rgb:
    """To `size`, width first, by the filter through which editing models saw their pictures in training."""
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS), np.uint8)


def fit(image: Rgb, width: int, height: int, how: Fit) -> Rgb:
    """Bring a picture to a size. crop: fill the frame and cut what stands out. pad: show all, stretch the border outwards. stretch: bend."""
    if how == "stretch":
        return resize(image, width, height)
    scales = (width / image.shape[1], height / image.shape[0])
    scale = max(scales) if how == "crop" else min(scales)
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    size = (max(size[0], width), max(size[1], height)) if how == "crop" else (min(size[0], width), min(size[1], height))
    scaled = resize(image, *size)
    x, y = (size[0] - width) // 2, (size[1] - height) // 2
    if how == "crop":
        return np.ascontiguousarray(scaled[y : y + height, x : x + width])
    return pad_edges(scaled, -x, -y, width - size[0] + x, height - size[1] + y)


def pad_edges(image: Rgb, left: int, top: int, right: int, bottom: int) -> Rgb:
    """The border repeated outwards."""
    return np.asarray(cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REPLICATE), np.uint8)
