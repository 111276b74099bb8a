"""The maps that a control learns from: edges of the training scenes and their exact depth, as tidy or as rough as people bring them."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.starter.attributes import random_labels
from engine.starter.dataset import SIZE
from engine.starter.scenes import draw

Map = NDArray[np.uint8]
DEPTH_FILE = "depth-256.npy"
# What the page's Canny preprocessor starts with.
LOW, HIGH = 100, 200
_CHUNK = 100


def edge_map(image: NDArray[np.uint8], *, low: float = LOW, high: float = HIGH, in_colour: bool = False) -> Map:
    """(H, W) uint8, 255 on edges (Canny 1986), of the brightness, or of the channel that changes most where `in_colour`."""
    source = image if in_colour else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.Canny(np.ascontiguousarray(source), low, high), np.uint8)


def rough_edges(image: NDArray[np.uint8], rng: np.random.Generator) -> Map:
    """The edges of a scene, often as Canny gives them, often as a hand would draw them: lines missing, thick, soft or not quite in place."""
    ease = float(rng.uniform(0.5, 1.4))
    edges = edge_map(image, low=LOW * ease, high=HIGH * ease * float(rng.uniform(0.8, 1.2)), in_colour=bool(rng.random() < 0.4))
    if rng.random() < 0.40:
        edges = drop_lines(edges, rng)
    if rng.random() < 0.15:
        edges = _only_a_part(edges, rng)
    if rng.random() < 0.20:
        edges = _wobble(edges, rng)
    if rng.random() < 0.40:
        width = int(rng.integers(2, 6))
        edges = np.asarray(cv2.dilate(edges, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))), np.uint8)
    if rng.random() < 0.20:
        soft = cv2.GaussianBlur(edges, (0, 0), float(rng.uniform(0.5, 1.2))).astype(np.float32)
        edges = np.clip(soft * (255 / max(float(soft.max()), 1.0)), 0, 255).astype(np.uint8)
    return edges


def drop_lines(edges: Map, rng: np.random.Generator) -> Map:
    """Lines cut at random places, and some of the pieces left out."""
    height, width = edges.shape
    cut = edges.copy()
    for _ in range(int(rng.integers(0, 16))):
        half = int(rng.integers(1, 9))
        x, y = int(rng.integers(width)), int(rng.integers(height))
        cut[max(0, y - half) : y + half, max(0, x - half) : x + half] = 0
    count, pieces = cv2.connectedComponents(cut, connectivity=8)
    is_kept = rng.random(count) < rng.uniform(0.3, 1.0)
    # Number 0 is the ground between the lines.
    is_kept[0] = False
    return np.where(is_kept[np.asarray(pieces, np.int64)], cut, 0).astype(np.uint8)


def _only_a_part(edges: Map, rng: np.random.Generator) -> Map:
    height, width = edges.shape
    h, w = int(height * rng.uniform(0.3, 0.8)), int(width * rng.uniform(0.3, 0.8))
    y, x = int(rng.integers(height - h)), int(rng.integers(width - w))
    part = np.zeros_like(edges)
    part[y : y + h, x : x + w] = edges[y : y + h, x : x + w]
    return part


def _wobble(edges: Map, rng: np.random.Generator) -> Map:
    """Lines pushed about by a pixel or two, smoothly: an unsteady hand."""
    height, width = edges.shape
    push = cv2.resize(rng.normal(0, rng.uniform(0.5, 1.5), (8, 8, 2)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    moved = cv2.remap(edges, columns + push[..., 0], rows + push[..., 1], cv2.INTER_LINEAR)
    return np.where(moved > 90, 255, 0).astype(np.uint8)


def depth_map(depth: NDArray[np.float32]) -> Map:
    """(H, W) uint8, near white, far black, as MiDaS and Depth Anything draw it; from a scene's depth, 0 near to 1 far."""
    return np.rint(np.clip(1 - depth, 0, 1) * 255).astype(np.uint8)


def rough_depth(exact: Map, rng: np.random.Generator) -> Map:
    """A depth map as an estimator would give it: softer, and stretched to another contrast."""
    rough = exact.astype(np.float32) / 255
    if rng.random() < 0.5:
        rough = cv2.GaussianBlur(rough, (0, 0), float(rng.uniform(0.5, 3.5))).astype(np.float32)
    if rng.random() < 0.6:
        low, high = float(rough.min()), float(rough.max())
        rough = np.clip((rough - low) / max(high - low, 1e-3), 0, 1) ** float(rng.uniform(0.65, 1.5))
        rough = rough * float(rng.uniform(0.85, 1.0))
    return np.rint(np.clip(rough, 0, 1) * 255).astype(np.uint8)


def draw_depths(work: Path, *, seed: int, count: int, is_wide: bool, workers: int | None = None) -> Path:
    """`work/depth-256.npy`, (count, 256, 256) uint8: depth of the first `count` scenes of the dataset with this seed. Drawn once."""
    target = work / DEPTH_FILE
    if target.exists():
        return target
    aside = target.with_suffix(".part")
    maps = np.lib.format.open_memmap(aside, mode="w+", dtype=np.uint8, shape=(count, SIZE, SIZE))
    starts = range(0, count, _CHUNK)
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        jobs = [(seed, start, min(_CHUNK, count - start), is_wide) for start in starts]
        for start, block in zip(starts, pool.map(_draw_chunk, jobs), strict=True):
            maps[start : start + len(block)] = block
            print(f"depth {start + len(block)}/{count}", flush=True)
    maps.flush()
    aside.rename(target)
    return target


def _draw_chunk(job: tuple[int, int, int, bool]) -> Map:
    cv2.setNumThreads(0)
    seed, start, count, is_wide = job
    return np.stack([_depth_of(seed, index, is_wide) for index in range(start, start + count)])


def _depth_of(seed: int, index: int, is_wide: bool) -> Map:
    """The scene of that number once more: labels and drawing follow from the two seeds, as in the dataset."""
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    labels = random_labels(rng, is_wide=is_wide)
    return depth_map(draw(labels, seed=int(rng.integers(2**31)), size=SIZE).depth)
