"""The starter's own depth estimator: `python -m engine.starter.depth`. Drawn scenes and their exact depth, a few minutes on one core."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch.nn import functional as F

from engine.diffusion.tiny_depth import BUNDLED_DEPTH, TinyDepth, estimate_depth, load_tiny_depth
from engine.starter.attributes import random_labels
from engine.starter.control_maps import DEPTH_FILE, Map, depth_map, draw_depths
from engine.starter.dataset import load_dataset
from engine.starter.recipes import RECIPES
from engine.starter.scenes import draw
from engine.starter.unet import Master

# Scenes of this seed are never learned from.
MEASURING_SEED = 20261126
METADATA = {
    "format": "pt", "easel.kind": "preprocessor", "easel.title": "Depth (starter)", "easel.preprocessor": "depth", "easel.licence": "Apache-2.0",
    "easel.note": "Near is white. Trained on drawn scenes: it knows the starter's kind of pictures.",
}  # fmt: skip
_BATCH, _RATE = 16, 2e-3


def train_depth(images: Map, depths: Map, rows: NDArray[np.int64], *, minutes: float, start_from: Path | None = None, seed: int = 2) -> TinyDepth:
    """The averaged estimator after learning from those rows of (N, 256, 256, 3) pictures and (N, 256, 256) maps, near white.

    Goes on from the file `start_from` if it is there; another `seed` then shows other scenes.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    known = TinyDepth() if start_from is None or not start_from.exists() else load_tiny_depth(start_from).train().requires_grad_(True)
    model: Any = known.to(memory_format=torch.channels_last)
    master = Master(model, ema=0.99)
    optimiser = torch.optim.Adam([master.weights], lr=_RATE, betas=(0.9, 0.99))
    started, step, losses = time.monotonic(), 0, [0.0]
    while (share := (time.monotonic() - started) / 60 / minutes) < 1:
        optimiser.param_groups[0]["lr"] = _RATE * min(1.0, (step + 1) / 20) * (0.5 + 0.5 * np.cos(np.pi * share))
        pixels, truth = _batch(images, depths, rng.choice(rows, _BATCH), rng)
        with torch.autocast("cpu", torch.bfloat16):
            made = model(pixels)
        loss = _loss(made.float(), truth)
        loss.backward()
        master.weights.grad = master.gather()
        optimiser.step()
        master.scatter()
        master.update_average(step := step + 1)
        losses.append(loss.item())
        if step % 50 == 0:
            print(f"depth step {step} loss {np.mean(losses[-50:]):.4f} {time.monotonic() - started:.0f} s", flush=True)
    master.scatter(master.average)
    return model.eval()


def _batch(images: Map, depths: Map, rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, 3, H, W) in [-1, 1], often soft, noisy or in other colours as generated pictures are, and (B, 1, H, W) in [0, 1]."""
    pictures: list[NDArray[Any]] = []
    maps: list[NDArray[Any]] = []
    for row in rows:
        picture: NDArray[Any] = images[row].astype(np.float32) / 255
        near = depths[row].astype(np.float32) / 255
        if rng.random() < 0.5:
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 1.8))))
        picture = (picture - 0.5) * rng.uniform(0.8, 1.2, 3) + 0.5 + rng.uniform(-0.08, 0.08, 3) + rng.normal(0, 0.01, picture.shape)
        is_mirrored = bool(rng.random() < 0.5)
        pictures.append((picture[:, ::-1] if is_mirrored else picture).astype(np.float32))
        maps.append(near[:, ::-1] if is_mirrored else near)
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).clamp(0, 1) * 2 - 1
    return pixels, torch.from_numpy(np.stack(maps))[:, None]


def _loss(made: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """L1, and L1 of the gradients: where one thing ends and the next begins."""
    loss = F.l1_loss(made, truth)
    for axis in (2, 3):
        loss = loss + F.l1_loss(made.diff(dim=axis), truth.diff(dim=axis))
    return loss


def correlation(found: NDArray[Any], truth: NDArray[Any]) -> float:
    """Pearson's, of two maps. A flat one has none: 0."""
    a, b = (one.astype(np.float64) - one.mean() for one in (found, truth))
    size = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return float((a * b).sum()) / size if size > 0 else 0.0


def measure(model: TinyDepth, count: int = 64) -> float:
    """Mean correlation with the exact depth on fresh scenes."""
    found: list[float] = []
    for index in range(count):
        rng = np.random.default_rng([MEASURING_SEED, index])
        scene = draw(random_labels(rng, is_wide=True), seed=int(rng.integers(2**31)))
        found.append(correlation(estimate_depth(model, scene.image), depth_map(scene.depth)))
    return float(np.mean(found))


def save_depth(model: TinyDepth, path: Path) -> None:
    """One safetensors file in fp16, written aside first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_bytes(save({name: value.half().contiguous() for name, value in model.state_dict().items()}, metadata=METADATA))
    os.replace(aside, path)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.depth", description=__doc__)
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--work", type=Path, default=Path("data/starter-v2"), help="folder with the drawn scenes")
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="starter-v2", help="whose scenes these are")
    parser.add_argument("--depths", type=int, default=6_000, help="how many scenes are drawn again for their depth")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--out", type=Path, default=BUNDLED_DEPTH, help="the estimator; goes on from it if it is there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    recipe = RECIPES[options.recipe]
    draw_depths(options.work, seed=recipe.seed, count=min(options.depths, recipe.scenes), is_wide=recipe.is_wide)
    images, _, degraded = load_dataset(options.work)
    depths = np.load(options.work / DEPTH_FILE, mmap_mode="r")
    sound = np.flatnonzero(~degraded[: len(depths)])
    model = train_depth(images, depths, sound, minutes=options.minutes, start_from=options.out, seed=options.seed)
    save_depth(model, options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB, correlation {measure(model):.3f} on fresh scenes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
