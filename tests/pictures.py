"""Pictures for tests that start from one: scenes that the studio draws itself, files of them, and jobs walked to their end."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine import Engine, Finished, Picture, parse_request
from engine.starter.attributes import SceneLabels
from engine.starter.scenes import draw as draw_scene
from tests.conftest import OWNER, events_of

Rgb = NDArray[np.uint8]
_SUBJECTS, _PLACES, _TIMES, _COLOURS = ("castle", "tower", "house", "ship"), ("hills", "desert"), ("day", "sunset"), ("red", "blue")


def scene(width: int = 64, height: int = 64, *, number: int = 0) -> Rgb:
    """One of the starter's own training scenes, (height, width, 3)."""
    labels = SceneLabels(_SUBJECTS[number % 4], _PLACES[number // 4 % 2], _TIMES[number // 8 % 2], _COLOURS[number // 16 % 2])
    return np.asarray(cv2.resize(draw_scene(labels, number, 128).image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def encoded(image: Image.Image | NDArray[np.uint8], kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, format=kind, **options)
    return file.getvalue()


def bring(engine: Engine, image: Rgb, owner: str = OWNER) -> str:
    """The hash of a source that was brought in as a PNG."""
    return engine.add_input(encoded(image), owner).hash


def bring_mask(engine: Engine, source: str, box: tuple[int, int, int, int], size: tuple[int, int]) -> str:
    """The hash of a mask that is white inside `box` (left, top, right, bottom) of a source of `size` (width, height)."""
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    return engine.add_mask(source, encoded(mask), OWNER).hash


def draw(engine: Engine, mode: str, **values: object) -> Sequence[Picture]:
    """The pictures of a small, quick job; any field can be set."""
    fixed = {"mode": mode, "prompt": "a red castle at sunset", "steps": 3, "width": 64, "height": 64, "seed": 7}
    ending = events_of(engine, engine.submit(parse_request({**fixed, **values}), OWNER).id)[-1]
    assert isinstance(ending, Finished), ending
    return ending.pictures


def read(where: Path | Picture) -> Rgb:
    with Image.open(where.path if isinstance(where, Picture) else where) as image:
        return np.asarray(image.convert("RGB"), np.uint8)


def distance(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    """Mean absolute difference in steps of 1/255."""
    return float(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)).mean())


def is_same(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    """The same picture but for the last bit of a few values: where weights lie in memory decides how sums are rounded."""
    return bool(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max() <= 1) and distance(one, other) < 0.02


def steps_across(picture: Rgb) -> NDArray[np.float64]:
    """(2, n): mean absolute difference across every vertical and every horizontal line of a picture of equal edges."""
    values = picture.astype(np.float64)
    return np.stack([np.abs(np.diff(values, axis=1)).mean((0, 2)), np.abs(np.diff(values, axis=0)).mean((1, 2))])


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    """A zip of these files, ready to be read."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    target.seek(0)
    return target
