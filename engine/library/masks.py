"""Strokes to a mask at the size of the source. White, 255, means repaint."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.contract.strokes import Stroke

Mask = NDArray[np.uint8]


def rasterise(strokes: Iterable[Stroke], width: int, height: int, *, below: Mask | None = None) -> Mask:
    """(height, width) uint8, 0 or 255, over an earlier mask or none. Later strokes lie over earlier ones, as on paper."""
    mask: Mask = np.zeros((height, width), np.uint8) if below is None else below.copy()
    for stroke in strokes:
        points = np.asarray(stroke.points, np.float64).reshape(-1, 2)
        match stroke.tool:
            case "brush" | "erase" if len(points):
                _line(mask, points, stroke.size, 255 if stroke.tool == "brush" else 0)
            case "lasso" if len(points) > 2:
                cv2.fillPoly(mask, [_pixels(points)], 0 if stroke.is_erasing else 255)
            case "fill" if len(points):
                _fill(mask, points[0])
            case "invert":
                np.subtract(255, mask, out=mask)
            case "clear" | "all":
                mask[:] = 255 if stroke.tool == "all" else 0
            case _:
                pass
    return mask


def _pixels(points: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.floor(points).astype(np.int32)


def _line(mask: Mask, points: NDArray[np.float64], size: float, value: int) -> None:
    """A line with round ends; a dot where there is one point, as wide as a line of that size."""
    at = _pixels(points if len(points) > 1 else points.repeat(2, axis=0)).reshape(-1, 1, 2)
    cv2.polylines(mask, [at], False, value, max(1, round(size)))


def _fill(mask: Mask, point: NDArray[np.float64]) -> None:
    x, y = (int(v) for v in np.floor(point))
    if 0 <= x < mask.shape[1] and 0 <= y < mask.shape[0] and mask[y, x] == 0:
        cv2.floodFill(mask, None, (x, y), 255)  # type: ignore[call-overload]
