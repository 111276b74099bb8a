"""How near generated pictures are to drawn ones as a crowd, and that none is a copy."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.starter.attributes import SceneLabels
from engine.starter.probe import Probe, to_input
from engine.starter.scenes import draw

Pictures = NDArray[np.uint8]
_EDGE = 24


def features(probe: Probe, images: Pictures) -> NDArray[np.float64]:
    """(N, 160) of the judge's last layer, averaged over the picture."""
    with torch.no_grad():
        blocks = [probe.features(to_input(images[start : start + 100])) for start in range(0, len(images), 100)]
    return torch.cat(blocks).double().numpy()


def frechet(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Squared Fréchet distance of two Gaussians fitted to (N, D) features (Heusel et al. 2017, eq. 6)."""
    mean = float(np.square(a.mean(0) - b.mean(0)).sum())
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # Tr √(AB) by eigenvalues: they are real and not negative for two covariances, up to rounding.
    roots = np.sqrt(np.clip(np.linalg.eigvals(cov_a @ cov_b).real, 0, None))
    return mean + float(np.trace(cov_a) + np.trace(cov_b) - 2 * roots.sum())


def crowd_distance(probe: Probe, made: Pictures, labels: list[SceneLabels], *, seed: int, fresh: int = 2_000) -> dict[str, float]:
    """Fréchet distance of `made` to `fresh` scenes, and of as many drawn scenes with the same labels: the floor."""
    rng = np.random.default_rng(seed)
    wanted = [labels[int(rng.integers(len(labels)))] for _ in range(fresh)]
    crowd = features(probe, np.stack([draw(one, seed=seed * 7_000_000 + k).image for k, one in enumerate(wanted)]))
    same = np.stack([draw(one, seed=seed * 9_000_000 + k).image for k, one in enumerate(labels)])
    return {"generated": frechet(features(probe, made), crowd), "drawn": frechet(features(probe, same), crowd)}


def nearest(pictures: Pictures, training: Pictures) -> NDArray[np.float64]:
    """Root mean square distance, in 8-bit levels at 24 × 24, of each picture to the nearest training picture, mirrored ones too."""
    asked, known = _small(pictures), _small(training)
    best = np.full(len(asked), np.inf)
    for view in (known, known[:, :, ::-1]):
        flat = view.reshape(len(view), -1)
        norms = np.square(flat).sum(1)
        for start in range(0, len(asked), 64):
            block = asked[start : start + 64].reshape(-1, flat.shape[1])
            squared = np.square(block).sum(1)[:, None] + norms[None] - 2 * block @ flat.T
            best[start : start + 64] = np.minimum(best[start : start + 64], np.clip(squared, 0, None).min(1))
    return np.sqrt(best / (_EDGE * _EDGE * 3))


def copies(made: Pictures, labels: list[SceneLabels], training: Pictures, *, seed: int) -> dict[str, Any]:
    """Distances to the nearest training scene: of generated pictures, and of fresh scenes with the same labels that nobody trained on."""
    fresh = np.stack([draw(one, seed=seed * 11_000_000 + k).image for k, one in enumerate(labels)])
    ours, theirs = nearest(made, training), nearest(fresh, training)
    return {
        "generated": {"least": float(ours.min()), "median": float(np.median(ours))},
        "drawn": {"least": float(theirs.min()), "median": float(np.median(theirs))},
        "pictures": len(made),
        "training_scenes": len(training),
    }


def _small(images: Pictures) -> NDArray[np.float32]:
    return np.stack([cv2.resize(image, (_EDGE, _EDGE), interpolation=cv2.INTER_AREA) for image in images]).astype(np.float32)
