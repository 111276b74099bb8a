"""What the decoder learns from: crops of drawn scenes beside their latents, some clean, some as the denoiser leaves them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.starter.autoencoder import CHANNELS, PATCH, to_tensor
from engine.starter.dataset import KEPT_BACK
from engine.starter.walked import LATENTS, ROWS


@dataclass(frozen=True)
class Lesson:
    """truth: (B, 3, crop, crop) in [-1, 1]. weight: (B, 1, crop, crop) of mean 1.

    The first of them have latents: walked (W, 8, c, c); those of the others are encoded from the truth and get noise (B - W, 8, c, c).
    """

    truth: torch.Tensor
    weight: torch.Tensor
    walked: torch.Tensor
    noise: torch.Tensor


class Crops:
    """Three of four crops show a part of the subject, some clean ones are whole scenes made smaller."""

    def __init__(self, work: Path, *, batch: int, crop: int, walked_share: float, subject_weight: float, noise: float, seed: int) -> None:
        self._scenes = np.load(work / "scenes.npy", mmap_mode="r")
        self._masks = np.load(work / "masks.npy", mmap_mode="r")
        lines = (work / "labels.jsonl").read_text(encoding="utf-8").splitlines()
        clean = [number for number, line in enumerate(lines) if not json.loads(line)["is_degraded"]]
        self._rows, self._kept_back = np.array(clean[:-KEPT_BACK]), np.array(clean[-KEPT_BACK:])
        self._batch, self._crop, self._seed = batch, crop, seed
        self._subject_weight, self._noise = subject_weight, noise
        self._walked_count = round(batch * walked_share)
        if self._walked_count:
            self._walked, self._walked_rows = np.load(work / LATENTS, mmap_mode="r"), np.load(work / ROWS)

    def lesson(self, step: int) -> Lesson:
        """All chance of a step comes from its number, so a resumed run sees what it would have seen."""
        rng = np.random.default_rng([self._seed, step])
        images: list[NDArray[np.uint8]] = []
        masks: list[NDArray[np.uint8]] = []
        walked: list[NDArray[np.float32]] = []
        for number in range(self._batch):
            if number < self._walked_count:
                pick = int(rng.integers(len(self._walked_rows) - KEPT_BACK))
                image, mask = self._scene(int(self._walked_rows[pick]))
                top, left = corner(mask, self._crop, rng)
                walked.append(_cut_latents(self._walked[pick], top, left, self._crop))
                # Latents of a mirrored picture are not the mirrored latents: these stay as they are.
                turn = slice(None)
            else:
                image, mask = self._scene(int(self._rows[int(rng.integers(len(self._rows)))]))
                if number % 4 == 3:
                    image, mask = (_shrunk(one, self._crop) for one in (image, mask))
                top, left = corner(mask, self._crop, rng)
                turn = slice(None, None, -1 if rng.random() < 0.5 else 1)
            images.append(image[top : top + self._crop, left : left + self._crop][:, turn])
            masks.append(mask[top : top + self._crop, left : left + self._crop][:, turn])
        weight = 1 + self._subject_weight * torch.from_numpy(np.stack(masks).astype(np.float32))[:, None] / 255
        shape = (self._batch - len(walked), CHANNELS, self._crop // PATCH, self._crop // PATCH)
        spread = rng.random((len(images) - len(walked), 1, 1, 1), np.float32) * self._noise
        noise = torch.from_numpy(rng.standard_normal(shape, np.float32) * spread)
        met = torch.from_numpy(np.stack(walked)) if walked else torch.zeros((0, *shape[1:]))
        return Lesson(to_tensor(np.stack(images)), weight / weight.mean(), met, noise)

    def fresh(self, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Whole scenes that are never trained on, and their masks."""
        rows = self._kept_back[:count]
        return np.stack([self._scenes[row] for row in rows]), np.stack([self._masks[row] for row in rows])

    def fresh_walked(self, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], torch.Tensor] | None:
        """Whole scenes whose walked latents are never trained on, their masks and those latents; None where nothing was walked."""
        if not self._walked_count:
            return None
        picks = range(len(self._walked_rows) - KEPT_BACK, len(self._walked_rows))[:count]
        scenes = [self._scene(int(self._walked_rows[pick])) for pick in picks]
        latents = np.stack([self._walked[pick] for pick in picks]).astype(np.float32)
        return np.stack([image for image, _ in scenes]), np.stack([mask for _, mask in scenes]), torch.from_numpy(latents)

    def _scene(self, row: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return np.asarray(self._scenes[row]), np.asarray(self._masks[row])


def corner(mask: NDArray[np.uint8], crop: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top and left of a crop on the patch grid (the encoder sees whole patches only), mostly around a pixel of the subject where there is one."""
    room = [edge - crop for edge in mask.shape]
    ys, xs = np.nonzero(mask[::PATCH, ::PATCH] > 127)
    if not len(ys) or rng.random() < 0.25:
        top, left = (int(rng.integers(one // PATCH + 1)) * PATCH for one in room)
        return top, left
    pick = int(rng.integers(len(ys)))
    top, left = (int(at) * PATCH - int(rng.integers(crop // PATCH)) * PATCH for at in (ys[pick], xs[pick]))
    return min(max(top, 0), room[0]), min(max(left, 0), room[1])


def _cut_latents(latents: NDArray[np.float16], top: int, left: int, crop: int) -> NDArray[np.float32]:
    rows, columns = slice(top // PATCH, (top + crop) // PATCH), slice(left // PATCH, (left + crop) // PATCH)
    return latents[:, rows, columns].astype(np.float32)


def _shrunk(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)
