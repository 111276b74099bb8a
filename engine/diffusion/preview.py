"""Previews: predicted clean latents to a few coloured pixels by a linear map, nothing of the decoder. The host makes a picture file of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from engine.contract.work import Sketch
from engine.diffusion.families.family import Family, Latents

EDGE_MIN, EDGE_MAX = 256, 384
# Edge of the sheet on which an unknown autoencoder is measured, in pixels.
_SHEET = 256


@dataclass(frozen=True)
class LatentToRgb:
    """`matrix` (C, 3) and `bias` (3): RGB in [-1, 1] of each latent position."""

    matrix: torch.Tensor
    bias: torch.Tensor

    @staticmethod
    def known(family: Family, own: Mapping[str, Any] | None, channels: int) -> LatentToRgb | None:
        """The model's own map where it brings one, else its family's, if that has one for as many channels."""
        matrix = own["matrix"] if own else family.preview_matrix
        if matrix is None or len(matrix) != channels:
            return None
        bias = own["bias"] if own else family.preview_bias
        return LatentToRgb(torch.tensor(matrix, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32))

    def sketch(self, denoised: torch.Tensor) -> Sketch:
        """One picture's (C, h, w) predicted clean latents, a pixel each, to be shown with the longer edge between 256 and 384 px."""
        values = denoised.float().cpu().permute(1, 2, 0) @ self.matrix + self.bias
        pixels = ((values.nan_to_num() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        height, width = pixels.shape[:2]
        return Sketch(width, height, pixels.tobytes(), min(max(max(width, height) * 8, EDGE_MIN), EDGE_MAX))


# For a model whose autoencoder is not known yet: four channels of nothing.
NO_PREVIEW = LatentToRgb(torch.zeros(4, 3), torch.zeros(3))


def measure_preview(latents: Latents, vae: Any) -> LatentToRgb:
    """The map of an autoencoder that nobody has measured before: least squares on what it makes of a sheet of soft colours.

    The values of nearly every image autoencoder are close to a linear picture of what they hold; one look decides it.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 8, 8, generator=generator) * 2 - 1
    sheet = torch.nn.functional.interpolate(coarse, size=(_SHEET, _SHEET), mode="bicubic").clamp(-1, 1)
    with torch.inference_mode():
        found = latents.encode(vae, sheet.to(vae.device, vae.dtype), generator).float().cpu()
    small = torch.nn.functional.interpolate(sheet, size=found.shape[-2:], mode="area")
    values = found[0].flatten(1).T
    # A constant beside the channels; a little ridge, because channels of an untrained one may lie along each other.
    design = torch.cat([values, torch.ones(len(values), 1)], dim=1).double()
    normal = design.T @ design + 1e-3 * torch.eye(design.shape[1], dtype=torch.float64)
    solved = torch.linalg.solve(normal, design.T @ small[0].flatten(1).T.double()).float()
    return LatentToRgb(solved[:-1], solved[-1])


def picture_sketch(picture: NDArray[np.uint8]) -> Sketch:
    """A picture (H, W, 3), to be shown with its longer edge at 384 px."""
    image = Image.fromarray(picture)
    # Averaged by whole numbers: a preview of twelve megapixels must not cost more than a step.
    small = image.reduce(max(1, max(image.size) // (2 * EDGE_MAX)))
    return Sketch(small.width, small.height, small.tobytes(), EDGE_MAX)
