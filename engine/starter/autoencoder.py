"""The autoencoder: a linear encoder that needs no training, held exactly by AutoencoderTiny, and a trained decoder.

The encoder is a principal component analysis of 8 × 8 patches, so latents are final before anything is trained.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from numpy.typing import NDArray
from torch.nn import functional as F

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


def train_decoder(
    vae: AutoencoderTiny,
    images: NDArray[np.uint8],
    folder: Path,
    *,
    minutes: float,
    batch: int = 8,
    crop: int = 128,
    seed: int = 5,
    compiled: bool = True,
) -> float:
    """Train the decoder on random crops, save the averaged weights to `folder`, return PSNR in dB on the last 64 pictures."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    vae.encoder.requires_grad_(False)
    decoder = torch.compile(vae.decoder) if compiled else vae.decoder
    parameters = list(vae.decoder.parameters())
    average = [p.detach().clone() for p in parameters]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=1e-4)
    started = time.monotonic()
    step = 0
    while (share := (time.monotonic() - started) / 60 / minutes) < 1:
        optimiser.param_groups[0]["lr"] = 1e-3 * min(1, (step + 1) / 50) * (1 if share < 0.5 else 2 * (1 - share) + 0.01)
        truth = _crops(images[:-64], rng, batch, crop)
        with torch.no_grad():
            latents = vae.encoder(truth)
            latents = latents + torch.randn_like(latents) * 0.04 * float(rng.random())
        with torch.autocast("cpu", torch.bfloat16):
            made = decoder(latents)
        loss = _picture_loss(made.float(), truth)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        for mean, parameter in zip(average, parameters, strict=True):
            mean.lerp_(parameter.detach(), 0.005 if step > 400 else 0.05)
        step += 1
        if step % 100 == 0:
            print(f"decoder step {step} loss {loss.item():.4f} {time.monotonic() - started:.0f} s", flush=True)
    with torch.no_grad():
        for parameter, mean in zip(parameters, average, strict=True):
            parameter.copy_(mean)
    vae.save_pretrained(folder)
    return psnr(vae, np.asarray(images[-64:]))


def psnr(vae: AutoencoderTiny, images: NDArray[np.uint8]) -> float:
    """Mean peak signal-to-noise ratio in dB of decode(encode(x)) over (N, H, W, 3) pictures."""
    values: list[float] = []
    with torch.no_grad():
        for image in images:
            truth = _to_tensor(image[None])
            error = float(((vae.decoder(vae.encoder(truth)).clamp(-1, 1) - truth) / 2).square().mean())
            values.append(-10 * float(np.log10(error)))
    return float(np.mean(values))


def _crops(images: NDArray[np.uint8], rng: np.random.Generator, batch: int, crop: int) -> torch.Tensor:
    out: list[NDArray[np.uint8]] = []
    for _ in range(batch):
        image = images[int(rng.integers(len(images)))]
        if rng.random() < 0.25:
            image = cv2.resize(image, (crop, crop), interpolation=cv2.INTER_AREA)
        # Cut on the patch grid: the encoder sees whole patches only.
        y, x = (int(rng.integers((edge - crop) // PATCH + 1)) * PATCH for edge in image.shape[:2])
        out.append(image[y : y + crop, x : x + crop])
    return _to_tensor(np.stack(out))


def _to_tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1


def _picture_loss(made: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """L1, squares, and L1 of the gradients: sharp edges are what makes a drawing."""
    loss = F.l1_loss(made, truth) + F.mse_loss(made, truth)
    for axis in (2, 3):
        loss = loss + 0.5 * F.l1_loss(made.diff(dim=axis), truth.diff(dim=axis))
    return loss + 0.5 * F.l1_loss(F.avg_pool2d(made, 4), F.avg_pool2d(truth, 4))
