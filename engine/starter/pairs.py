"""Pictures in two sizes to learn enlarging from: scenes drawn large, and the same ones small, clean and as the starter's autoencoder leaves them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from numpy.typing import NDArray

from engine.diffusion.images import Rgb, resize, to_pixels, to_rgb
from engine.starter.attributes import random_labels
from engine.starter.scenes import draw

STARTER = Path(__file__).resolve().parents[2] / "presets" / "models" / "starter"
# Scenes of the second seed are never learned from: they are for measuring.
TRAINING_SEED, MEASURING_SEED = 20261123, 20261124


@dataclass(frozen=True)
class Pairs:
    """large: (N, 2E, 2E, 3), clean and decoded: (N, E, E, 3), all uint8. `decoded` went through the autoencoder after `clean`."""

    large: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    decoded: NDArray[np.uint8]


def make_pairs(count: int, *, seed: int, edge: int = 256, first: int = 0) -> Pairs:
    """Scenes number `first` to `first + count` of a seed. One scene alone is the same as in a larger set."""
    vae: Any = AutoencoderTiny.from_pretrained(STARTER / "vae", torch_dtype=torch.float32, local_files_only=True).eval()
    large = [_scene(seed, index, 2 * edge) for index in range(first, first + count)]
    clean = [resize(image, edge, edge) for image in large]
    return Pairs(np.stack(large), np.stack(clean), np.stack([_decoded(vae, image) for image in clean]))


def load_pairs(folder: Path, *, count: int, seed: int, edge: int = 256, chunk: int = 50) -> Pairs:
    """The pairs of a folder; drawn in chunks the first time, those that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    chunks: list[Pairs] = []
    for first in range(0, count, chunk):
        files = {name: folder / f"{name}-{seed}-{edge}-{first}.npy" for name in ("large", "clean", "decoded")}
        if not all(path.exists() for path in files.values()):
            made = make_pairs(min(chunk, count - first), seed=seed, edge=edge, first=first)
            for name, path in files.items():
                np.save(aside := path.with_suffix(".part.npy"), getattr(made, name))
                aside.rename(path)
            print(f"pairs {first + len(made.large)}/{count}", flush=True)
        chunks.append(Pairs(**{name: np.load(path) for name, path in files.items()}))
    return Pairs(*(np.concatenate([getattr(one, name) for one in chunks]) for name in ("large", "clean", "decoded")))


def _scene(seed: int, index: int, size: int) -> Rgb:
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    labels = random_labels(rng, is_wide=True)
    return draw(labels, seed=int(rng.integers(2**31)), size=size).image


def _decoded(vae: Any, image: Rgb) -> Rgb:
    with torch.no_grad():
        return to_rgb(vae.decoder(vae.encoder(to_pixels(image)))[0])
