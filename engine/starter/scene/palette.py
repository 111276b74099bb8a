"""Light: what each time of day does to sky, land and things. Colours are RGB in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = NDArray[np.float32]

# Lengths in whole pixels are meant on a canvas of this edge and grow with a larger one.
GRID = 512


def rgb(*values: float) -> Colour:
    return np.array(values, dtype=np.float32)


@dataclass(frozen=True)
class Light:
    """Sky from top to horizon, the colour of the light, of the shade, and of lit windows."""

    top: Colour
    middle: Colour
    horizon: Colour
    sun: Colour
    lit: Colour
    shade: Colour
    window: Colour
    is_dark: bool = False


LIGHTS: dict[str, Light] = {
    "day": Light(rgb(0.20, 0.47, 0.82), rgb(0.48, 0.72, 0.93), rgb(0.86, 0.93, 0.95), rgb(1, 0.98, 0.88),
                 rgb(1.0, 0.98, 0.94), rgb(0.62, 0.68, 0.80), rgb(0.24, 0.32, 0.42)),
    "dawn": Light(rgb(0.50, 0.56, 0.78), rgb(0.86, 0.70, 0.80), rgb(1.0, 0.86, 0.74), rgb(1, 0.93, 0.80),
                  rgb(1.0, 0.90, 0.86), rgb(0.60, 0.55, 0.72), rgb(0.98, 0.86, 0.56)),
    "sunset": Light(rgb(0.26, 0.14, 0.36), rgb(0.80, 0.26, 0.22), rgb(1.0, 0.66, 0.22), rgb(1, 0.88, 0.50),
                    rgb(1.0, 0.78, 0.58), rgb(0.46, 0.30, 0.42), rgb(1.0, 0.84, 0.42)),
    "night": Light(rgb(0.02, 0.03, 0.11), rgb(0.05, 0.09, 0.24), rgb(0.12, 0.20, 0.38), rgb(0.93, 0.95, 1.0),
                   rgb(0.74, 0.78, 0.96), rgb(0.26, 0.29, 0.48), rgb(1.0, 0.86, 0.42), is_dark=True),
}  # fmt: skip

COLOUR_VALUES: dict[str, Colour] = {
    "red": rgb(0.84, 0.13, 0.12),
    "orange": rgb(0.96, 0.50, 0.08),
    "yellow": rgb(0.98, 0.84, 0.16),
    "green": rgb(0.17, 0.60, 0.22),
    "blue": rgb(0.14, 0.34, 0.86),
    "purple": rgb(0.50, 0.18, 0.70),
    "pink": rgb(0.98, 0.52, 0.74),
    "white": rgb(0.95, 0.95, 0.93),
}


@dataclass(frozen=True)
class Land:
    """Near and far ground, the shape of the skyline, and whether the ground mirrors."""

    near: Colour
    far: Colour
    ridge: str
    is_water: bool = False


LANDS: dict[str, Land] = {
    "mountains": Land(rgb(0.34, 0.42, 0.30), rgb(0.46, 0.50, 0.62), "peaks"),
    "sea": Land(rgb(0.06, 0.30, 0.42), rgb(0.30, 0.56, 0.66), "none", is_water=True),
    "desert": Land(rgb(0.86, 0.66, 0.38), rgb(0.93, 0.76, 0.52), "dunes"),
    "forest": Land(rgb(0.16, 0.32, 0.14), rgb(0.20, 0.40, 0.28), "firs"),
    "city": Land(rgb(0.30, 0.31, 0.35), rgb(0.42, 0.46, 0.56), "blocks"),
    "canyon": Land(rgb(0.66, 0.33, 0.20), rgb(0.80, 0.45, 0.28), "mesas"),
    "hills": Land(rgb(0.42, 0.64, 0.24), rgb(0.46, 0.66, 0.42), "rolls"),
    "swamp": Land(rgb(0.22, 0.30, 0.18), rgb(0.34, 0.42, 0.30), "reeds", is_water=True),
    "ice": Land(rgb(0.84, 0.92, 0.97), rgb(0.70, 0.83, 0.93), "shards"),
    "alien planet": Land(rgb(0.42, 0.16, 0.46), rgb(0.20, 0.46, 0.50), "spires"),
}


def mix(a: Colour, b: Colour, amount: float) -> Colour:
    return (a + (b - a) * amount).astype(np.float32)
