"""The sky: a graded backdrop, sun or moon, stars, clouds."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.starter.scene.palette import GRID, Light, mix, rgb

Image = NDArray[np.float32]


def paint_sky(size: int, *, horizon: float, light: Light, weather: str, is_alien: bool, sun: tuple[float, float], rng: np.random.Generator) -> Image:
    """(size, size, 3) in [0, 1]. `horizon` and `sun` are fractions of the edge from the top left."""
    top, middle, low = (np.clip(c * (1 + rng.normal(0, 0.05, 3)), 0, 1).astype(np.float32) for c in (light.top, light.middle, light.horizon))
    if is_alien:
        top, middle = mix(top, rgb(0.10, 0.42, 0.36), 0.55), mix(middle, rgb(0.25, 0.62, 0.50), 0.45)
    if weather != "clear":
        grey = rgb(0.62, 0.65, 0.70) * (0.25 if light.is_dark else 1.0)
        top, middle = mix(top, grey, 0.35), mix(middle, grey, 0.30)
    rows = np.clip(np.linspace(0, 1, size, dtype=np.float32) / horizon, 0, 1)[:, None]
    upper = top + (middle - top) * np.clip(rows / 0.6, 0, 1)
    column = np.where(rows < 0.6, upper, middle + (low - middle) * np.clip((rows - 0.6) / 0.4, 0, 1))
    sky = np.repeat(column[:, None, :], size, axis=1).astype(np.float32)
    if light.is_dark and weather == "clear":
        _stars(sky, horizon, rng)
    if weather != "foggy":
        _sun(sky, light, sun, is_alien=is_alien)
    if weather == "cloudy":
        _clouds(sky, horizon, light, rng)
    return sky


def _stars(sky: Image, horizon: float, rng: np.random.Generator) -> None:
    size = sky.shape[0]
    for _ in range(int(rng.integers(30, 60))):
        x, y = int(rng.integers(size)), int(rng.integers(max(1, int(size * horizon * 0.9))))
        cv2.circle(sky, (x, y), max(1, int(rng.integers(2, 4)) * size // GRID), (0.9, 0.93, 1.0), -1, cv2.LINE_AA)


def _sun(sky: Image, light: Light, at: tuple[float, float], *, is_alien: bool) -> None:
    size = sky.shape[0]
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32) / size
    far = np.hypot(xs - at[0], ys - at[1])
    glow = np.exp(-((far / 0.20) ** 2)) * (0.30 if light.is_dark else 0.55)
    sky += (light.sun - sky) * glow[..., None]
    radius = 0.050 if light.is_dark else 0.058
    disc = np.clip((radius - far) * size / 2 + 0.5, 0, 1)
    sky += (light.sun - sky) * disc[..., None]
    if is_alien:
        far = np.hypot(xs - (1.0 - at[0]), ys - at[1] * 0.8)
        disc = np.clip((0.085 - far) * size / 2 + 0.5, 0, 1)
        shade = np.clip((xs - (1.0 - at[0])) / 0.12 + 0.5, 0, 1)[..., None]
        planet = rgb(0.86, 0.62, 0.42) * (0.45 + 0.55 * shade)
        sky += (planet - sky) * (disc * 0.9)[..., None]


def _clouds(sky: Image, horizon: float, light: Light, rng: np.random.Generator) -> None:
    size = sky.shape[0]
    mask = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(3, 6))):
        cx, cy = rng.uniform(0, size), rng.uniform(0.06, 0.72) * horizon * size
        wide = rng.uniform(0.10, 0.20) * size
        for _ in range(6):
            dx, dy = rng.normal(0, 0.55) * wide, -abs(rng.normal(0, 0.12)) * wide
            radius = wide * rng.uniform(0.20, 0.38)
            centre = (int(cx + dx), int(cy + dy))
            cv2.ellipse(mask, centre, (int(radius * 1.6), int(radius * 0.62)), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), size * 0.008)
    below = np.clip(soft - np.roll(soft, -int(size * 0.02), axis=0) + 0.5, 0, 1)
    bright = mix(light.lit, rgb(1, 1, 1), 0.35) * (0.42 if light.is_dark else 1.0)
    dull = mix(light.shade, light.middle, 0.5)
    cloud = dull + (bright - dull) * (1 - below)[..., None]
    sky += (cloud - sky) * (soft * 0.85)[..., None]
