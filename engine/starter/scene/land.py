"""The land: three skylines into the haze, then the ground that the subject stands on."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.starter.scene.palette import GRID, Colour, Land, Light, mix

Image = NDArray[np.float32]
Line = NDArray[np.float32]


def paint_land(image: Image, depth: Image, *, land: Land, light: Light, horizon: float, haze: float, sun_x: float, rng: np.random.Generator) -> None:
    """Paint over the sky below the skylines. `haze` 0 is clear air, 1 hides the farthest layer."""
    size = image.shape[0]
    layers = 3 if land.ridge != "none" else 0
    for layer in range(layers):
        near = (layer + 1) / layers
        top = _skyline(land.ridge, size, near, rng)
        colour = mix(land.far, land.near, near * 0.7) * _tint(light, 0.82)
        colour = mix(colour, light.horizon, np.clip((1 - near) * 0.62 + haze * (1.15 - near) * 0.7, 0, 0.96))
        _fill(
            image,
            depth,
            horizon * size - top,
            colour,
            light,
            relief=0.0 if land.ridge in ("firs", "blocks", "reeds") else 0.30,
            distance=0.95 - 0.3 * near,
        )
        if land.ridge == "blocks":
            _lit_windows(image, horizon * size - top, light, near, haze, rng)
    _ground(image, depth, land=land, light=light, horizon=horizon, haze=haze, sun_x=sun_x, rng=rng)


def _tint(light: Light, share_lit: float) -> Colour:
    return mix(light.shade, light.lit, share_lit)


def _smooth(size: int, knots: int, rng: np.random.Generator) -> Line:
    """A random line in about [0, 1] with `knots` bends."""
    points = rng.random(knots + 3)
    x = np.linspace(0, knots, size) + rng.random()
    left = x.astype(int)
    t = x - left
    t = t * t * (3 - 2 * t)
    return (points[left] * (1 - t) + points[np.minimum(left + 1, knots + 2)] * t).astype(np.float32)


def _jagged(size: int, knots: int, rng: np.random.Generator) -> Line:
    """Straight slopes between random peaks and valleys."""
    x = np.sort(np.concatenate(([0.0, 1.0], rng.random(knots))))
    y = np.where(np.arange(len(x)) % 2 == 0, rng.uniform(0.0, 0.35, len(x)), rng.uniform(0.55, 1.0, len(x)))
    return np.interp(np.linspace(0, 1, size), x, y).astype(np.float32)


def _steps(size: int, count: int, rng: np.random.Generator) -> Line:
    edges = np.sort(rng.integers(0, size, count))
    heights = rng.random(count + 1)
    return heights[np.searchsorted(edges, np.arange(size))].astype(np.float32)


def _skyline(kind: str, size: int, near: float, rng: np.random.Generator) -> Line:
    """Pixels above the horizon for each column; nearer layers are lower."""
    low = (1.15 - near) * size
    if kind == "peaks":
        return low * (0.10 + 0.36 * _jagged(size, 7 + int(5 * near), rng)) + size * 0.02
    if kind == "dunes":
        return low * 0.16 * _smooth(size, 3, rng) + size * 0.01
    if kind == "firs":
        saw = 1 - np.abs(((np.arange(size) / size * (18 + 8 * (1 - near)) + _smooth(size, 5, rng)) % 1.0) * 2 - 1)
        return (low * (0.08 + 0.16 * _smooth(size, 6, rng)) + size * 0.11 * saw * (0.6 + 0.6 * near)).astype(np.float32)
    if kind == "blocks":
        return low * (0.08 + 0.42 * _steps(size, 16, rng)) + size * 0.02
    if kind == "mesas":
        steps = _steps(size, 6, rng)
        width = 2 * (9 * size // GRID // 2) + 1
        return np.asarray(cv2.blur((low * (0.04 + 0.36 * (steps > 0.45) * steps))[None], (width, 1))[0], dtype=np.float32)
    if kind == "rolls":
        return low * 0.24 * _smooth(size, 4, rng) + size * 0.01
    if kind == "reeds":
        bank = low * 0.14 * _smooth(size, 7, rng)
        return (bank + size * 0.03 * rng.random(GRID)[np.arange(size) * GRID // size] * near).astype(np.float32)
    if kind == "shards":
        return low * (0.04 + 0.26 * _jagged(size, 11, rng)) + size * 0.01
    spire = np.abs(_jagged(size, 10, rng)) ** 3
    return (low * (0.06 + 0.42 * spire) + size * 0.02).astype(np.float32)


def _fill(image: Image, depth: Image, top: Line, colour: Colour, light: Light, *, relief: float, distance: float) -> None:
    size = image.shape[0]
    rows = np.arange(size, dtype=np.float32)[:, None]
    cover = np.clip(rows - top[None, :] + 0.5, 0, 1)[..., None]
    tone = np.ones((size, size, 1), np.float32)
    if relief:
        slope = np.gradient(cv2.GaussianBlur(top[None], (0, 0), size / 160)[0])
        # The slope is carried down and sideways, which draws facets instead of a cut-out.
        columns = np.clip(np.arange(size)[None, :] + ((rows - top[None, :]) * 0.35).astype(int), 0, size - 1)
        lit = np.tanh(slope[columns] * 1.6)
        tone = (1 - relief * lit)[..., None].astype(np.float32)
    image += (np.clip(colour * tone, 0, 1) - image) * cover
    depth += (distance - depth) * cover[..., 0]


def _lit_windows(image: Image, top: Line, light: Light, near: float, haze: float, rng: np.random.Generator) -> None:
    size = image.shape[0]
    edge = max(1, 6 * size // GRID)
    strength = (0.9 if light.is_dark else 0.25) * (1 - haze)
    for _ in range(int(30 * near)):
        x = int(rng.integers(6 * size // GRID, size - 12 * size // GRID))
        y = int(top[x] + rng.uniform(0.02, 0.14) * size)
        if y < size - 8 * size // GRID:
            patch = image[y : y + edge, x : x + edge]
            patch += (light.window - patch) * strength


def _ground(image: Image, depth: Image, *, land: Land, light: Light, horizon: float, haze: float, sun_x: float, rng: np.random.Generator) -> None:
    size = image.shape[0]
    start = int(horizon * size)
    rows = np.linspace(0, 1, size - start, dtype=np.float32)[:, None]
    far = mix(mix(land.far, light.horizon, 0.35 + 0.4 * haze) * _tint(light, 0.75), light.horizon, 0.25 + 0.45 * haze)
    near = land.near * _tint(light, 0.60)
    if land.is_water:
        far = mix(far, light.middle, 0.35)
        near = mix(near, light.top, 0.25)
    column = far + (near - far) * rows**0.65
    ground = np.repeat(column[:, None, :], size, axis=1)
    bands = cv2.resize(rng.random((14, 5)).astype(np.float32), (size, size - start), interpolation=cv2.INTER_CUBIC)
    ground = ground * (0.93 + 0.14 * bands[..., None])
    if land.is_water:
        columns = np.linspace(0, 1, size, dtype=np.float32)[None, :]
        path = np.exp(-(((columns - sun_x) / (0.05 + 0.10 * rows)) ** 2))
        ripple = (np.sin(rows**0.6 * 95 + bands * 7) > 0.25).astype(np.float32)
        ground += (light.sun - ground) * (path * ripple * 0.55)[..., None]
    image[start:] = np.clip(ground, 0, 1)
    depth[start:] = 0.65 - 0.55 * rows
