"""The subjects as polygons in a unit frame: x from -0.5 to 0.5, y from 0 at the foot to 1 at the top, light from the left.

A shape is (tone, points). Tones: main, light, shade and dark are the subject's own colour; trim, glass, metal, wood,
leaf, flame and ink are fixed; window glows in the dark.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
Shape = tuple[str, Points]


def poly(tone: str, *points: tuple[float, float]) -> Shape:
    return tone, np.array(points, dtype=np.float32)


def box(tone: str, x0: float, y0: float, x1: float, y1: float) -> Shape:
    return poly(tone, (x0, y0), (x1, y0), (x1, y1), (x0, y1))


def oval(tone: str, x: float, y: float, rx: float, ry: float, start: float = 0.0, end: float = 360.0) -> Shape:
    angles = np.linspace(start, end, 48) * pi / 180
    return tone, np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1).astype(np.float32)


def _column(x: float, half: float, y0: float, y1: float, top: float | None = None) -> list[Shape]:
    """A round tower: lit left third, main middle, shaded right; `top` is the half width at the top."""
    upper = half if top is None else top
    return [
        poly("main", (x - half, y0), (x + half, y0), (x + upper, y1), (x - upper, y1)),
        poly("light", (x - half, y0), (x - half * 0.4, y0), (x - upper * 0.4, y1), (x - upper, y1)),
        poly("shade", (x + half * 0.25, y0), (x + half, y0), (x + upper, y1), (x + upper * 0.25, y1)),
    ]


def _cone(x: float, half: float, y0: float, y1: float) -> list[Shape]:
    return [poly("dark", (x - half, y0), (x + half, y0), (x, y1)), poly("shade", (x - half, y0), (x - half * 0.1, y0), (x, y1))]


def castle() -> list[Shape]:
    shapes = [box("main", -0.42, 0, 0.42, 0.42), box("shade", 0.12, 0, 0.42, 0.42)]
    shapes += [box("main", x, 0.42, x + 0.07, 0.48) for x in (-0.26, -0.12, 0.02, 0.16)]
    for x, top in ((-0.40, 0.62), (0.40, 0.62), (0.0, 0.74)):
        shapes += [*_column(x, 0.105, 0, top), *_cone(x, 0.14, top, top + 0.24)]
        shapes += [box("window", x - 0.028, top - 0.16, x + 0.028, top - 0.05)]
    shapes += [box("ink", -0.075, 0, 0.075, 0.16), oval("ink", 0, 0.16, 0.075, 0.07)]
    return shapes


def tower() -> list[Shape]:
    shapes = [*_column(0, 0.17, 0, 0.72, 0.14), box("main", -0.20, 0.70, 0.20, 0.80), box("shade", 0.05, 0.70, 0.20, 0.80)]
    shapes += [box("main", x, 0.80, x + 0.075, 0.87) for x in (-0.20, -0.065, 0.07)] + [box("shade", 0.125, 0.80, 0.20, 0.87)]
    shapes += [box("window", -0.03, y, 0.03, y + 0.09) for y in (0.26, 0.50)]
    return [*shapes, box("ink", -0.055, 0, 0.055, 0.12)]


def lighthouse() -> list[Shape]:
    shapes = _column(0, 0.155, 0, 0.70, 0.095)
    for y in (0.12, 0.40):
        a, b = 0.155 - 0.06 * y / 0.7, 0.155 - 0.06 * (y + 0.13) / 0.7
        shapes += [poly("trim", (-a, y), (a, y), (b, y + 0.13), (-b, y + 0.13))]
    shapes += [box("ink", -0.14, 0.70, 0.14, 0.73), box("glow", -0.075, 0.73, 0.075, 0.85)]
    return [*shapes, poly("dark", (-0.11, 0.85), (0.11, 0.85), (0, 0.98)), box("ink", -0.04, 0, 0.04, 0.10)]


def house() -> list[Shape]:
    return [
        box("trim", -0.36, 0, 0.36, 0.44), box("trimshade", 0.08, 0, 0.36, 0.44), box("wood", 0.17, 0.62, 0.27, 0.92),
        poly("main", (-0.46, 0.42), (0.46, 0.42), (0.24, 0.82), (-0.24, 0.82)), poly("shade", (0.06, 0.42), (0.46, 0.42), (0.24, 0.82), (0.06, 0.82)),
        box("window", -0.28, 0.15, -0.11, 0.31), box("window", 0.15, 0.15, 0.29, 0.31), box("wood", -0.05, 0, 0.08, 0.26),
    ]  # fmt: skip


def windmill() -> list[Shape]:
    shapes = [
        *_column(0, 0.19, 0, 0.58, 0.11),
        *_cone(0, 0.135, 0.57, 0.74),
        box("window", -0.03, 0.26, 0.03, 0.35),
        box("ink", -0.05, 0, 0.05, 0.13),
    ]
    hub = (0.0, 0.60)
    for quarter in range(4):
        a = pi / 4 + quarter * pi / 2 + 0.15
        ux, uy, vx, vy = cos(a), sin(a), -sin(a), cos(a)

        def at(u: float, v: float, ux: float = ux, uy: float = uy, vx: float = vx, vy: float = vy) -> tuple[float, float]:
            return hub[0] + u * ux + v * vx, hub[1] + u * uy + v * vy

        shapes += [
            poly("trim", at(0.06, 0), at(0.40, 0), at(0.40, 0.11), at(0.10, 0.11)),
            poly("ink", at(0, -0.014), at(0.42, -0.014), at(0.42, 0.014), at(0, 0.014)),
        ]
    return [*shapes, oval("ink", *hub, 0.035, 0.035)]


def pyramid() -> list[Shape]:
    return [poly("main", (-0.56, 0), (0.56, 0), (0, 0.80)), poly("light", (-0.56, 0), (-0.10, 0), (0, 0.80)), poly("shade", (0.16, 0), (0.56, 0), (0, 0.80)),
            poly("ink", (-0.07, 0), (0.07, 0), (0.05, 0.13), (-0.05, 0.13))]  # fmt: skip


def ship() -> list[Shape]:
    shapes = [poly("wood", (-0.48, 0.22), (0.50, 0.22), (0.36, 0), (-0.34, 0)), poly("ink", (-0.48, 0.22), (0.50, 0.22), (0.47, 0.17), (-0.45, 0.17))]
    for x, low, wide, top in ((-0.20, 0.30, 0.20, 0.78), (0.13, 0.28, 0.24, 0.96)):
        shapes += [box("ink", x - 0.014, 0.2, x + 0.014, top)]
        shapes += [poly("main", (x - wide, low), (x + wide * 0.9, low), (x + wide * 0.72, top - 0.06), (x - wide * 0.72, top - 0.06))]
        shapes += [poly("light", (x - wide, low), (x - wide * 0.3, low), (x - wide * 0.3, top - 0.06), (x - wide * 0.72, top - 0.06))]
        shapes += [poly("shade", (x + wide * 0.4, low), (x + wide * 0.9, low), (x + wide * 0.72, top - 0.06), (x + wide * 0.4, top - 0.06))]
    return [*shapes, poly("main", (0.13, 0.96), (0.28, 0.99), (0.13, 1.02)), poly("trim", (0.40, 0.24), (0.52, 0.24), (0.36, 0.66))]


def balloon() -> list[Shape]:
    shapes = [oval("main", 0, 0.64, 0.36, 0.36), poly("main", (-0.30, 0.46), (0.30, 0.46), (0.09, 0.20), (-0.09, 0.20))]
    shapes += [oval("trim", 0, 0.64, 0.20, 0.36), poly("trim", (-0.17, 0.46), (0.17, 0.46), (0.05, 0.20), (-0.05, 0.20))]
    shapes += [oval("main", 0, 0.64, 0.09, 0.36), poly("main", (-0.08, 0.40), (0.08, 0.40), (0.02, 0.20), (-0.02, 0.20))]
    shapes += [("veil", np.concatenate([oval("", 0, 0.64, 0.36, 0.36, -90, 90)[1], oval("", 0, 0.64, 0.14, 0.36, 90, -90)[1]]))]
    shapes += [
        poly("ink", (-0.085, 0.20), (-0.07, 0.20), (-0.055, 0.12), (-0.07, 0.12)),
        poly("ink", (0.085, 0.20), (0.07, 0.20), (0.055, 0.12), (0.07, 0.12)),
    ]
    return [*shapes, box("wood", -0.08, 0.0, 0.08, 0.13)]


def rocket() -> list[Shape]:
    body = [(-0.13, 0.10), (0.13, 0.10), (0.155, 0.45), (0.11, 0.74), (0, 0.98), (-0.11, 0.74), (-0.155, 0.45)]
    return [
        poly("main", (-0.12, 0.36), (-0.33, 0.10), (-0.33, 0.0), (-0.10, 0.14)), poly("shade", (0.12, 0.36), (0.33, 0.10), (0.33, 0.0), (0.10, 0.14)),
        poly("trim", *body), poly("trimshade", (0.04, 0.10), (0.13, 0.10), (0.155, 0.45), (0.11, 0.74), (0, 0.98), (0.05, 0.6)),
        poly("main", (-0.118, 0.72), (0.118, 0.72), (0, 0.98)), poly("shade", (0.03, 0.72), (0.118, 0.72), (0, 0.98)),
        box("main", -0.14, 0.20, 0.14, 0.28), oval("metal", 0, 0.54, 0.08, 0.08), oval("glass", 0, 0.54, 0.056, 0.056), poly("ink", (-0.09, 0.10), (0.09, 0.10), (0.12, 0.03), (-0.12, 0.03)),
    ]  # fmt: skip


def saucer() -> list[Shape]:
    shapes = [oval("glass", 0, 0.56, 0.21, 0.26, 0, 180), oval("main", 0, 0.50, 0.50, 0.155), oval("light", -0.05, 0.55, 0.36, 0.07)]
    shapes += [oval("shade", 0, 0.42, 0.36, 0.085), oval("metal", 0, 0.38, 0.18, 0.045)]
    return shapes + [oval("glow", x, 0.455 - 0.10 * (0.2 - x * x), 0.035, 0.035) for x in (-0.36, -0.18, 0.0, 0.18, 0.36)]


def robot() -> list[Shape]:
    shapes = [
        box("metal", -0.20, 0.0, -0.06, 0.30),
        box("metal", 0.06, 0.0, 0.20, 0.30),
        box("ink", -0.24, 0, -0.04, 0.06),
        box("ink", 0.04, 0, 0.24, 0.06),
    ]
    shapes += [
        box("metal", -0.41, 0.30, -0.29, 0.62),
        box("metal", 0.29, 0.30, 0.41, 0.62),
        oval("shade", -0.35, 0.28, 0.07, 0.07),
        oval("shade", 0.35, 0.28, 0.07, 0.07),
    ]
    shapes += [
        box("main", -0.28, 0.28, 0.28, 0.66),
        box("light", -0.28, 0.28, -0.16, 0.66),
        box("shade", 0.13, 0.28, 0.28, 0.66),
        oval("glow", 0, 0.47, 0.07, 0.07),
    ]
    shapes += [
        box("metal", -0.06, 0.65, 0.06, 0.71),
        box("main", -0.21, 0.70, 0.21, 0.93),
        box("shade", 0.10, 0.70, 0.21, 0.93),
        box("ink", -0.16, 0.77, 0.16, 0.87),
    ]
    return [
        *shapes,
        oval("glow", -0.08, 0.82, 0.04, 0.04),
        oval("glow", 0.08, 0.82, 0.04, 0.04),
        box("metal", -0.012, 0.93, 0.012, 1.0),
        oval("main", 0, 1.0, 0.03, 0.03),
    ]


def car() -> list[Shape]:
    shapes = [
        poly("main", (-0.32, 0.30), (0.30, 0.30), (0.18, 0.56), (-0.20, 0.56)),
        poly("glass", (-0.26, 0.32), (-0.03, 0.32), (-0.03, 0.51), (-0.17, 0.51)),
        poly("glass", (0.02, 0.32), (0.24, 0.32), (0.16, 0.51), (0.02, 0.51)),
    ]
    shapes += [
        poly("main", (-0.54, 0.12), (0.54, 0.12), (0.54, 0.26), (0.46, 0.33), (-0.46, 0.35), (-0.54, 0.28)),
        box("shade", -0.54, 0.10, 0.54, 0.17),
        box("light", -0.48, 0.28, 0.44, 0.315),
    ]
    for x in (-0.31, 0.31):
        shapes += [oval("ink", x, 0.11, 0.125, 0.125), oval("metal", x, 0.11, 0.06, 0.06)]
    return [*shapes, oval("glow", 0.51, 0.24, 0.03, 0.035)]


def tree() -> list[Shape]:
    shapes = [poly("wood", (-0.075, 0), (0.085, 0), (0.05, 0.5), (-0.05, 0.5)), poly("ink", (0.02, 0), (0.085, 0), (0.05, 0.5), (0.02, 0.5))]
    shapes += [oval("shade", x, y, r, r * 0.92) for x, y, r in ((0.21, 0.56, 0.22), (-0.20, 0.54, 0.20), (0.06, 0.52, 0.22))]
    shapes += [oval("main", x, y, r, r * 0.92) for x, y, r in ((-0.15, 0.64, 0.23), (0.12, 0.70, 0.24), (-0.01, 0.80, 0.20))]
    return shapes + [oval("light", x, y, r, r * 0.8) for x, y, r in ((-0.17, 0.72, 0.12), (-0.03, 0.87, 0.10))]


def mushroom() -> list[Shape]:
    shapes = [
        poly("trim", (-0.13, 0), (0.15, 0), (0.09, 0.5), (-0.09, 0.5)),
        poly("trimshade", (0.03, 0), (0.15, 0), (0.09, 0.5), (0.03, 0.5)),
        oval("trimshade", 0, 0.47, 0.40, 0.06),
    ]
    shapes += [
        oval("main", 0, 0.46, 0.46, 0.46, 0, 180),
        ("shade", np.concatenate([oval("", 0, 0.46, 0.46, 0.46, 0, 80)[1], oval("", 0, 0.46, 0.20, 0.44, 80, 0)[1]])),
    ]
    return shapes + [
        oval("trim", x, y, r, r * 0.85) for x, y, r in ((-0.24, 0.60, 0.075), (-0.02, 0.74, 0.085), (0.22, 0.60, 0.065), (-0.02, 0.54, 0.05))
    ]


def crystal() -> list[Shape]:
    shapes: list[Shape] = []
    for x, half, top, lean in ((-0.24, 0.11, 0.56, -0.12), (0.25, 0.12, 0.62, 0.13), (0.0, 0.16, 1.0, 0.0)):
        tip = (x + lean, top)
        left, right = (x - half + lean * 0.6, top * 0.72), (x + half + lean * 0.6, top * 0.72)
        centre = (x + lean * 0.6, top * 0.66)
        shapes += [poly("light", (x - half * 0.7, 0), (x, 0), centre, left), poly("shade", (x, 0), (x + half * 0.7, 0), right, centre)]
        shapes += [poly("main", left, centre, tip), poly("dark", centre, right, tip)]
    return shapes


def bird() -> list[Shape]:
    return [
        poly("shade", (0.04, 0.50), (-0.12, 0.52), (0.10, 1.0), (0.30, 0.98), (0.22, 0.74)), poly("dark", (-0.30, 0.44), (-0.54, 0.54), (-0.52, 0.36), (-0.36, 0.36)),
        oval("main", -0.02, 0.42, 0.34, 0.125), oval("main", 0.31, 0.50, 0.115, 0.105), poly("flame", (0.40, 0.55), (0.54, 0.48), (0.40, 0.45)), oval("ink", 0.345, 0.53, 0.022, 0.022),
        oval("light", 0.0, 0.37, 0.26, 0.06), poly("main", (0.10, 0.46), (-0.12, 0.46), (-0.44, 0.88), (-0.20, 0.96), (0.02, 0.74)), poly("light", (-0.10, 0.50), (-0.44, 0.88), (-0.34, 0.92), (-0.02, 0.56)),
    ]  # fmt: skip


SUBJECT_SHAPES: dict[str, Callable[[], list[Shape]]] = {
    draw.__name__: draw
    for draw in (castle, tower, lighthouse, house, windmill, pyramid, ship, balloon, rocket, saucer, robot, car, tree, mushroom, crystal, bird)
}

# Height of the subject for the frame of 1; wide things are smaller so that they fit.
SUBJECT_HEIGHT = {"car": 0.66, "pyramid": 0.72, "saucer": 0.74, "castle": 0.72, "house": 0.66, "bird": 0.70, "ship": 0.74, "mushroom": 0.74}
