"""A scene from labels and a seed: the same pair draws the same picture on every machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.starter.attributes import COUNTS, FLYING, SceneLabels
from engine.starter.scene.land import paint_land
from engine.starter.scene.palette import COLOUR_VALUES, GRID, LANDS, LIGHTS, Colour, Light, mix, rgb
from engine.starter.scene.sky import paint_sky
from engine.starter.scene.subjects import SUBJECT_HEIGHT, SUBJECT_SHAPES, Shape

_OVERSAMPLING = 2
_X_OF = {"left": 0.31, "centre": 0.5, "right": 0.69}


@dataclass(frozen=True)
class Scene:
    """A drawn scene and what is known about it for free.

    image: (H, W, 3) uint8. depth: (H, W) float32, 0 near to 1 far. mask: (H, W) float32, 1 on the subject.
    """

    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    mask: NDArray[np.float32]
    labels: SceneLabels


def draw(labels: SceneLabels, seed: int, size: int = 256, *, shapes: Callable[[], list[Shape]] | None = None) -> Scene:
    """Draw at twice the size, then reduce. Deterministic in (labels, seed, size); another size shows the same scene.

    `shapes` stand where the subject of the labels would.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    canvas = size * _OVERSAMPLING
    light, land = LIGHTS[labels.time], LANDS[labels.place]
    horizon = float(rng.uniform(0.60, 0.68))
    haze = 0.75 if labels.weather == "foggy" else 0.0
    sun_y = {"day": 0.16, "night": 0.16, "dawn": 0.46, "sunset": 0.52}[labels.time] + float(rng.uniform(-0.05, 0.05))
    sun_x = float(rng.uniform(0.12, 0.34)) if labels.position != "left" else float(rng.uniform(0.66, 0.88))
    image = paint_sky(
        canvas, horizon=horizon, light=light, weather=labels.weather, is_alien=labels.place == "alien planet", sun=(sun_x, sun_y), rng=rng
    )
    depth = np.ones((canvas, canvas), np.float32)
    paint_land(image, depth, land=land, light=light, horizon=horizon, haze=haze, sun_x=sun_x, rng=rng)
    mask = np.zeros((canvas, canvas), np.float32)
    drawing = shapes or SUBJECT_SHAPES[labels.subject]
    _place_subjects(image, depth, mask, labels, light, horizon, drawing, mirrored=sun_x > 0.5, haze=haze, rng=rng)
    image = _finish(image, labels.style, rng)
    small = cv2.resize(np.clip(image, 0, 1), (size, size), interpolation=cv2.INTER_AREA)
    return Scene(
        image=np.rint(small * 255).astype(np.uint8),
        depth=_reduce(depth, size),
        mask=_reduce(mask, size),
        labels=labels,
    )


def _reduce(plane: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(plane, (size, size), interpolation=cv2.INTER_AREA), dtype=np.float32)


def _place_subjects(image: NDArray[np.float32], depth: NDArray[np.float32], mask: NDArray[np.float32], labels: SceneLabels, light: Light, horizon: float, drawing: Callable[[], list[Shape]], *, mirrored: bool, haze: float, rng: np.random.Generator) -> None:  # fmt: skip
    size = image.shape[0]
    is_flying = labels.subject in FLYING
    edge = size * SUBJECT_HEIGHT.get(labels.subject, 0.80) * float(rng.uniform(0.74, 0.86)) * (1.0 if labels.distance == "near" else 0.55)
    count = COUNTS.index(labels.count) + 1
    edge *= (1.0, 0.57, 0.46)[count - 1]
    foot = size * (horizon + float(rng.uniform(0.13, 0.19)))
    # A pair needs room on both sides of its middle.
    off_centre = (_X_OF[labels.position] - 0.5) * (0.75 if count == 2 else 1.0)
    middle = size * (0.5 + off_centre + float(rng.uniform(-0.03, 0.03)))
    for number in range(count):
        x = middle + (number - (count - 1) / 2) * edge
        y = size * float(rng.uniform(0.50, 0.60)) + edge * 0.40 if is_flying else foot
        if not is_flying:
            _contact(image, x, y, edge, labels, light)
        colour = COLOUR_VALUES[labels.colour] * (1 + rng.normal(0, 0.03, 3).astype(np.float32))
        _draw_shapes(image, mask, drawing(), x, y, edge, mirrored=mirrored, tones=_tones(colour, light, haze))
    depth += (0.25 - depth) * mask


def _contact(image: NDArray[np.float32], x: float, y: float, edge: float, labels: SceneLabels, light: Light) -> None:
    """A shadow on land, an islet or a dark waterline on water: nothing floats."""
    shade = np.zeros(image.shape[:2], np.float32)
    is_water = LANDS[labels.place].is_water
    wide = 0.62 if is_water and labels.subject != "ship" else 0.50
    cv2.ellipse(shade, (int(x), int(y)), (int(edge * wide), int(edge * (0.085 if is_water else 0.06))), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    shade = cv2.GaussianBlur(shade, (0, 0), image.shape[0] / 200)
    if is_water and labels.subject != "ship":
        rock = rgb(0.36, 0.32, 0.26) * mix(light.shade, light.lit, 0.4)
        image += (rock - image) * shade[..., None]
    else:
        image *= 1 - 0.45 * shade[..., None]


def _tones(colour: Colour, light: Light, haze: float) -> dict[str, Colour]:
    lit, shade = light.lit, light.shade
    own = {
        "main": colour * mix(shade, lit, 0.78),
        "light": mix(colour, rgb(1, 1, 1), 0.28) * lit,
        "shade": colour * mix(shade, lit, 0.25) * 0.82,
        "dark": colour * mix(shade, lit, 0.30) * 0.60,
    }
    fixed = {
        "trim": rgb(0.95, 0.92, 0.86) * mix(shade, lit, 0.8),
        "trimshade": rgb(0.80, 0.77, 0.75) * mix(shade, lit, 0.25),
        "metal": rgb(0.62, 0.65, 0.70) * mix(shade, lit, 0.6),
        "wood": rgb(0.46, 0.29, 0.17) * mix(shade, lit, 0.7),
        "ink": rgb(0.13, 0.12, 0.15) * mix(shade, lit, 0.7),
        "glass": mix(rgb(0.50, 0.80, 0.92) * lit, light.horizon, 0.25),
        "flame": rgb(0.98, 0.62, 0.14) * mix(shade, lit, 0.8),
    }
    lamps = {"window": light.window, "glow": rgb(1.0, 0.90, 0.50) if light.is_dark else rgb(0.99, 0.93, 0.66) * lit}
    return {name: mix(np.clip(c, 0, 1).astype(np.float32), light.horizon, haze * 0.25) for name, c in {**own, **fixed, **lamps}.items()}


def _draw_shapes(
    image: NDArray[np.float32],
    mask: NDArray[np.float32],
    shapes: list[Shape],
    x: float,
    y: float,
    edge: float,
    *,
    mirrored: bool,
    tones: dict[str, Colour],
) -> None:
    flip = -1.0 if mirrored else 1.0
    for tone, points in shapes:
        at = np.stack([x + flip * points[:, 0] * edge, y - points[:, 1] * edge], axis=1)
        fixed = [np.rint(at * 16).astype(np.int32)]
        if tone == "veil":
            veil = np.zeros(mask.shape, np.float32)
            cv2.fillPoly(veil, fixed, 1.0, cv2.LINE_AA, shift=4)
            image *= 1 - 0.26 * veil[..., None]
            continue
        cv2.fillPoly(image, fixed, tuple(float(v) for v in tones[tone]), cv2.LINE_AA, shift=4)
        cv2.fillPoly(mask, fixed, 1.0, cv2.LINE_AA, shift=4)


def _finish(image: NDArray[np.float32], style: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """painting: soft bloom and a breath of canvas; flat: few tones, no gradients."""
    if style == "flat":
        return (np.rint(image * 7) / 7 * 0.85 + image * 0.15).astype(np.float32)
    bright = cv2.resize(np.maximum(image - 0.72, 0), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    bloom = cv2.resize(cv2.GaussianBlur(bright, (0, 0), 6 * image.shape[0] / GRID), image.shape[1::-1])
    strokes = cv2.resize(rng.normal(0, 1, (40, 56)).astype(np.float32), image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return ((image + bloom * 0.9) * (1 + 0.022 * strokes[..., None])).astype(np.float32)
