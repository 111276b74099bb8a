"""Previews: predicted clean latents to a small JPEG by a linear map. About 1 ms, nothing of the decoder."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from engine.diffusion.families import Family

EDGE_MIN, EDGE_MAX = 256, 384
_QUALITY = 65


@dataclass(frozen=True)
class LatentToRgb:
    """`matrix` (C, 3) and `bias` (3): RGB in [-1, 1] of each latent position."""

    matrix: torch.Tensor
    bias: torch.Tensor

    @staticmethod
    def for_model(family: Family, own: Mapping[str, Any] | None) -> LatentToRgb:
        """The model's own map where it brings one, else its family's."""
        matrix = own["matrix"] if own else family.preview_matrix
        bias = own["bias"] if own else family.preview_bias
        return LatentToRgb(torch.tensor(matrix, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32))

    def jpeg(self, denoised: torch.Tensor) -> bytes:
        """One picture's (C, h, w) predicted clean latents → JPEG with its longer edge between 256 and 384 px."""
        values = denoised.float().cpu().permute(1, 2, 0) @ self.matrix + self.bias
        pixels = ((values.nan_to_num() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        image = Image.fromarray(pixels)
        return _small_jpeg(image, min(max(max(image.size) * 8, EDGE_MIN), EDGE_MAX))


def picture_jpeg(picture: NDArray[np.uint8]) -> bytes:
    """A picture (H, W, 3) as a JPEG with its longer edge at 384 px."""
    image = Image.fromarray(picture)
    # Averaged by whole numbers first: a preview of twelve megapixels must not cost more than a step.
    return _small_jpeg(image.reduce(max(1, max(image.size) // (2 * EDGE_MAX))), EDGE_MAX)


def _small_jpeg(image: Image.Image, edge: int) -> bytes:
    scale = edge / max(image.size)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=_QUALITY)
    return file.getvalue()
