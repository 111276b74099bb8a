"""The autoencoder: a linear encoder that needs no training, held exactly by AutoencoderTiny, and a trained decoder.

The encoder is a principal component analysis of 8 × 8 patches, so latents are final before anything is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from numpy.typing import NDArray

CHANNELS = 8
# Beside the autoencoder in a model folder, so that training can go on from it.
BASIS_FILE = "basis.npz"
PATCH = 8
WIDTH = 48
DECODER_BLOCKS = (4, 3, 2, 1)
# Latents for the diffusion model have a spread of 1; the decoder squashes its input at 3, so it is given smaller ones.
SCALING = 1.5


@dataclass(frozen=True)
class PatchBasis:
    """mean (192), down (192, 8) and up (8, 192): latents = (patch - mean) @ down, patch ≈ latents @ up + mean; pixels in [0, 1]."""

    mean: NDArray[np.float32]
    down: NDArray[np.float32]
    up: NDArray[np.float32]

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 → (N, 8, H/8, W/8)."""
        return np.ascontiguousarray(((_patches(images) - self.mean) @ self.down).transpose(0, 3, 1, 2), dtype=np.float32)

    def preview(self) -> dict[str, Any]:
        """The linear map from latents to the mean colour of their patch, RGB in [-1, 1]."""
        matrix = self.up.reshape(CHANNELS, PATCH * PATCH, 3).mean(1) * 2
        bias = self.mean.reshape(PATCH * PATCH, 3).mean(0) * 2 - 1
        return {"matrix": matrix.tolist(), "bias": bias.tolist()}

    def save(self, path: Path) -> None:
        np.savez(path, mean=self.mean, down=self.down, up=self.up)

    @staticmethod
    def load(path: Path) -> PatchBasis:
        with np.load(path) as file:
            return PatchBasis(file["mean"], file["down"], file["up"])


def fit_basis(images: NDArray[np.uint8]) -> PatchBasis:
    """PCA with partial whitening: each component is divided by the root of its spread, all together have spread 1."""
    patches = _patches(images).reshape(-1, PATCH * PATCH * 3)
    mean = patches.mean(0)
    values, vectors = np.linalg.eigh(np.cov((patches - mean).T.astype(np.float64)))
    order = np.argsort(values)[::-1][:CHANNELS]
    spread = np.sqrt(values[order])
    axes = vectors[:, order]
    # The sign of an eigenvector is free; fix it, so that two machines agree.
    axes = axes * np.sign(axes.sum(0) + 1e-9)
    total = np.sqrt((spread).mean())
    scale = 1 / (np.sqrt(spread) * total)
    return PatchBasis(mean.astype(np.float32), (axes * scale).astype(np.float32), (axes / scale).T.astype(np.float32))


def _patches(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    n, height, width, _ = images.shape
    blocks = images.reshape(n, height // PATCH, PATCH, width // PATCH, PATCH, 3).transpose(0, 1, 3, 2, 4, 5)
    return (blocks.reshape(n, height // PATCH, width // PATCH, -1) / np.float32(255)).astype(np.float32)


def encode_dataset(images: NDArray[np.uint8], basis: PatchBasis, target: Path, *, size: int) -> None:
    """Latents of every picture and of its mirror image: (2N, 8, size/8, size/8) float16, mirrored half last."""
    n = len(images)
    aside = target.with_suffix(".part")
    latents = np.lib.format.open_memmap(aside, mode="w+", dtype=np.float16, shape=(2 * n, CHANNELS, size // PATCH, size // PATCH))
    for start in range(0, n, 500):
        block = np.asarray(images[start : start + 500])
        if size != block.shape[1]:
            block = np.stack([cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) for image in block])
        latents[start : start + len(block)] = basis.encode(block)
        latents[n + start : n + start + len(block)] = basis.encode(block[:, :, ::-1])
    latents.flush()
    aside.rename(target)


def build_autoencoder(basis: PatchBasis, *, width: int = WIDTH, blocks: tuple[int, ...] = DECODER_BLOCKS) -> AutoencoderTiny:
    """A standard AutoencoderTiny whose encoder computes the basis exactly and whose decoder starts from mean colours."""
    vae = AutoencoderTiny(
        latent_channels=CHANNELS, encoder_block_out_channels=(width,) * 4, decoder_block_out_channels=(width,) * 4,
        num_encoder_blocks=(0, 0, 0, 0), num_decoder_blocks=blocks, scaling_factor=SCALING,
    )  # fmt: skip
    with torch.no_grad():
        _set_encoder(vae, basis)
        _set_decoder(vae, basis)
    return vae


def _set_encoder(vae: AutoencoderTiny, basis: PatchBasis) -> None:
    layers: Any = vae.encoder.layers
    first, *strided, last = layers
    for layer in (first, *strided, last):
        layer.weight.zero_()
    first.bias.zero_()
    for colour in range(3):
        first.weight[colour, colour, 1, 1] = 1
    for layer, channels in zip(strided[:2], (3, 12), strict=True):
        # Four neighbours become four groups of channels: row and column bits of the position inside the patch.
        for row in range(2):
            for column in range(2):
                for channel in range(channels):
                    layer.weight[(row * 2 + column) * channels + channel, channel, 1 + row, 1 + column] = 1
    down = torch.from_numpy(basis.down / SCALING).reshape(PATCH, PATCH, 3, CHANNELS)
    for y in range(PATCH):
        for x in range(PATCH):
            inner = (y & 1) * 2 + (x & 1)
            outer = (y >> 1 & 1) * 2 + (x >> 1 & 1)
            for colour in range(3):
                strided[2].weight[:CHANNELS, outer * 12 + inner * 3 + colour, 1 + (y >> 2), 1 + (x >> 2)] = down[y, x, colour]
    for channel in range(CHANNELS):
        last.weight[channel, channel, 1, 1] = 1
    last.bias.copy_(torch.from_numpy(-(basis.mean @ basis.down) / SCALING))


def _set_decoder(vae: AutoencoderTiny, basis: PatchBasis) -> None:
    """Channels 0–2 carry the mean colour through every layer, smoothed after each enlargement; the rest is free to learn."""
    convolutions: Any = vae.decoder.layers
    layers = list(convolutions)
    preview = basis.preview()
    colour = torch.tensor(preview["matrix"]).T * SCALING / 2
    offset = torch.tensor(preview["bias"]) / 2 + 0.5
    layers[0].weight[:3].zero_()
    layers[0].weight[:3, :, 1, 1] = colour
    layers[0].bias[:3] = offset
    kernel = torch.tensor([0.25, 0.5, 0.25])
    for layer in layers[1:]:
        if hasattr(layer, "conv"):
            layer.conv[4].weight.zero_()
            layer.conv[4].bias.zero_()
        elif isinstance(layer, torch.nn.Conv2d):
            layer.weight[:3].zero_()
            for channel in range(3):
                layer.weight[channel, channel] = kernel[:, None] * kernel[None, :]
    layers[-1].weight[:3].zero_()
    layers[-1].bias.zero_()
    for channel in range(3):
        layers[-1].weight[channel, channel, 1, 1] = 1


def psnr(vae: AutoencoderTiny, images: NDArray[np.uint8], masks: NDArray[Any] | None = None, latents: torch.Tensor | None = None) -> float:
    """Mean peak signal-to-noise ratio in dB over (N, H, W, 3) pictures, or over the pixels of their (N, H, W) masks.

    Of decode(encode(x)), or of decoding (N, 8, H/8, W/8) `latents`.
    """
    values: list[float] = []
    with torch.no_grad():
        for number, image in enumerate(images):
            truth = to_tensor(image[None])
            made = vae.decoder(vae.encoder(truth) if latents is None else latents[number : number + 1]).clamp(-1, 1)
            error = ((made - truth) / 2).square().mean(1)[0]
            share = torch.ones_like(error) if masks is None else torch.from_numpy(masks[number].astype(np.float32))
            values.append(-10 * float(torch.log10((error * share).sum() / share.sum())))
    return float(np.mean(values))


def to_tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    """(N, H, W, 3) uint8 → (N, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1
