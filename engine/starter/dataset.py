"""The training set on disk: pictures as one array, labels as lines. Drawn once, on every core."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.starter.attributes import SceneLabels, random_labels
from engine.starter.scenes import Scene, draw

SIZE = 256
# The last scenes of a set, and the last that were walked, never teach the decoder: they say how good it is.
KEPT_BACK = 64
_CHUNK = 250
# One picture in 25 is made worse on purpose and captioned so: it gives negative prompts their meaning.
_DEGRADED_EVERY = 25


def draw_dataset(folder: Path, *, count: int, seed: int, is_wide: bool = False, workers: int | None = None) -> None:
    """Write `scenes.npy` (count, 256, 256, 3) uint8 and `labels.jsonl`. Finished sets are left alone."""
    target = folder / "scenes.npy"
    if target.exists() and (folder / "labels.jsonl").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / "scenes.part"
    images = np.lib.format.open_memmap(aside, mode="w+", dtype=np.uint8, shape=(count, SIZE, SIZE, 3))
    lines: list[str] = []
    starts = range(0, count, _CHUNK)
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        for start, (block, labels) in zip(starts, pool.map(_draw_chunk, [(seed, s, min(_CHUNK, count - s), is_wide) for s in starts]), strict=True):
            images[start : start + len(block)] = block
            lines += [json.dumps(one) for one in labels]
            print(f"scenes {start + len(block)}/{count}", flush=True)
    images.flush()
    (folder / "labels.jsonl").write_text("\n".join(lines), encoding="utf-8")
    aside.rename(target)


def draw_masks(folder: Path, *, seed: int, is_wide: bool = False, workers: int | None = None) -> None:
    """Write `masks.npy` (count, 256, 256) uint8, 255 on the subject, for the scenes that lie in `folder`. A finished file is left alone."""
    target = folder / "masks.npy"
    if target.exists():
        return
    count = len((folder / "labels.jsonl").read_text(encoding="utf-8").splitlines())
    aside = folder / "masks.part"
    masks = np.lib.format.open_memmap(aside, mode="w+", dtype=np.uint8, shape=(count, SIZE, SIZE))
    starts = range(0, count, _CHUNK)
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        for start, block in zip(starts, pool.map(_mask_chunk, [(seed, s, min(_CHUNK, count - s), is_wide) for s in starts]), strict=True):
            masks[start : start + len(block)] = block
            print(f"masks {start + len(block)}/{count}", flush=True)
    masks.flush()
    aside.rename(target)


def _mask_chunk(job: tuple[int, int, int, bool]) -> NDArray[np.uint8]:
    cv2.setNumThreads(0)
    seed, start, count, is_wide = job
    scenes = (_scene_at(seed, index, is_wide=is_wide)[1] for index in range(start, start + count))
    return np.stack([np.rint(scene.mask * 255).astype(np.uint8) for scene in scenes])


def _scene_at(seed: int, index: int, *, is_wide: bool) -> tuple[SceneLabels, Scene, np.random.Generator]:
    """The scene of this place in the set, and the chance that is left after it."""
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    labels = random_labels(rng, is_wide=is_wide)
    return labels, draw(labels, seed=int(rng.integers(2**31)), size=SIZE), rng


def _draw_chunk(job: tuple[int, int, int, bool]) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    cv2.setNumThreads(0)
    seed, start, count, is_wide = job
    images: list[NDArray[np.uint8]] = []
    labels: list[dict[str, Any]] = []
    for index in range(start, start + count):
        one, scene, rng = _scene_at(seed, index, is_wide=is_wide)
        is_degraded = index % _DEGRADED_EVERY == 0
        images.append(degrade(scene.image, rng) if is_degraded else scene.image)
        labels.append({**one.to_plain(), "is_degraded": is_degraded})
    return np.stack(images), labels


def degrade(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """One of the faults that people write into negative prompts: blur, noise, hard compression, no contrast."""
    fault = int(rng.integers(4))
    if fault == 0:
        return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(3, 6))).astype(np.uint8)
    if fault == 1:
        return np.clip(image + rng.normal(0, 38, image.shape), 0, 255).astype(np.uint8)
    if fault == 2:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 6])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return (image * 0.35 + 128).clip(0, 255).astype(np.uint8)


def load_dataset(folder: Path) -> tuple[NDArray[np.uint8], list[SceneLabels], NDArray[np.bool_]]:
    """Pictures (memory-mapped), labels, and which ones are degraded."""
    images = np.load(folder / "scenes.npy", mmap_mode="r")
    plain = [json.loads(line) for line in (folder / "labels.jsonl").read_text(encoding="utf-8").splitlines()]
    degraded = np.array([one.pop("is_degraded") for one in plain])
    return images, [SceneLabels(**one) for one in plain], degraded
