"""Things that the starter has never seen, drawn like its own subjects: what textual inversion teaches it a word for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.starter.attributes import SceneLabels, random_labels
from engine.starter.scene.subjects import Shape, box, oval, poly
from engine.starter.scenes import Scene, draw


def snail() -> list[Shape]:
    shapes = [poly("trim", (-0.46, 0), (0.40, 0), (0.50, 0.10), (0.52, 0.40), (0.40, 0.42), (0.34, 0.16), (-0.20, 0.14))]
    shapes += [
        poly("ink", (0.42, 0.38), (0.45, 0.38), (0.40, 0.60), (0.37, 0.60)),
        poly("ink", (0.49, 0.38), (0.52, 0.38), (0.56, 0.58), (0.53, 0.58)),
    ]
    shapes += [oval("ink", 0.385, 0.61, 0.035, 0.035), oval("ink", 0.545, 0.59, 0.035, 0.035)]
    shapes += [oval("main", -0.06, 0.42, 0.36, 0.36), oval("dark", -0.03, 0.40, 0.26, 0.26), oval("light", -0.05, 0.42, 0.19, 0.19)]
    return [*shapes, oval("dark", -0.03, 0.41, 0.11, 0.11), oval("light", -0.04, 0.42, 0.05, 0.05)]


def teapot() -> list[Shape]:
    shapes = [oval("main", -0.46, 0.40, 0.18, 0.19), oval("ink", -0.46, 0.40, 0.10, 0.11)]
    shapes += [poly("main", (0.20, 0.20), (0.30, 0.40), (0.48, 0.66), (0.58, 0.66), (0.46, 0.34), (0.34, 0.12))]
    shapes += [oval("main", 0, 0.36, 0.38, 0.34), oval("light", -0.14, 0.46, 0.12, 0.14), oval("shade", 0.14, 0.26, 0.20, 0.20)]
    return [*shapes, box("dark", -0.20, 0.64, 0.20, 0.70), oval("main", 0, 0.70, 0.18, 0.08), oval("trim", 0, 0.82, 0.06, 0.06), box("shade", -0.22, 0, 0.22, 0.06)]  # fmt: skip


def cactus() -> list[Shape]:
    shapes: list[Shape] = []
    for x, low, high, half in ((0.0, 0.0, 0.86, 0.12), (-0.30, 0.36, 0.66, 0.08), (0.30, 0.28, 0.56, 0.08)):
        shapes += [
            box("main", x - half, low, x + half, high),
            oval("main", x, high, half, half),
            box("light", x - half * 0.75, low, x - half * 0.35, high),
        ]
        shapes += [box("shade", x + half * 0.35, low, x + half, high)]
    shapes += [box("main", -0.38, 0.30, -0.08, 0.42), box("main", 0.08, 0.22, 0.38, 0.34), oval("main", -0.31, 0.37, 0.07, 0.07), oval("main", 0.31, 0.29, 0.07, 0.07)]  # fmt: skip
    return [*shapes, oval("flame", 0, 0.98, 0.07, 0.05)]


NEWCOMERS: dict[str, Callable[[], list[Shape]]] = {one.__name__: one for one in (snail, teapot, cactus)}


def draw_newcomer(word: str, count: int, seed: int) -> list[Scene]:
    """Scenes with one near thing of this kind, in every place, time and colour."""
    rng = np.random.default_rng(seed)
    return [draw(newcomer_labels(rng), seed=seed * 10_000 + number, shapes=NEWCOMERS[word]) for number in range(count)]


def pictures_of(scenes: list[Scene]) -> NDArray[np.uint8]:
    return np.stack([scene.image for scene in scenes])


def newcomer_labels(rng: np.random.Generator) -> SceneLabels:
    """One near thing in clear or cloudy weather. The subject only stands in: a house is anywhere and in every colour, as the newcomers are."""
    while True:
        labels = replace(random_labels(rng, held_out=None), subject="house")
        if labels.weather != "foggy":
            return labels
