"""PNG files: every pixel comes back, the texts lie in front of them, and they cost little time and room."""

from __future__ import annotations

import io
import statistics
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from engine.library.carriers import Texts, png_info
from engine.library.png import png
from tests.faults.figures import Figures

EXAMPLES = Path(__file__).resolve().parents[2] / "presets" / "examples"


def opened(content: bytes) -> tuple[NDArray[np.uint8], dict[str, object]]:
    """Pixels and texts, each chunk's checksum looked at."""
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        image.verify()
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        return np.asarray(image), dict(image.info)


@settings(deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), is_grey=st.booleans(), seed=st.integers(0, 2**32 - 1), few=st.booleans())
def test_every_pixel_comes_back(height: int, width: int, is_grey: bool, seed: int, few: bool) -> None:
    shape = (height, width) if is_grey else (height, width, 3)
    pixels = np.random.default_rng(seed).integers(0, 2 if few else 256, shape, np.uint8)
    found, info = opened(png(pixels))
    np.testing.assert_array_equal(found, pixels)
    assert info == {}


def test_texts_lie_in_front_of_the_pixels() -> None:
    texts = Texts('{"prompt": "城 🏰"}', "城 🏰\nSteps: 4")
    content = png(np.zeros((8, 8, 3), np.uint8), png_info(texts))
    assert opened(content)[1] == {"easel": texts.recipe, "parameters": texts.parameters}
    assert content.index(b"easel") < content.index(b"parameters") < content.index(b"IDAT")


@pytest.mark.timed
def test_a_file_is_small_and_quickly_made(figure: Figures) -> None:
    """Beside Pillow's own: its default for the room, its quickest that is as small for the time."""

    def pillow(pixels: NDArray[np.uint8], **how: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format="PNG", **how)
        return file.getvalue()

    def took_s(make: Callable[[], bytes]) -> float:
        begin = time.perf_counter()
        make()
        return time.perf_counter() - begin

    shares, ratios = list[float](), list[float]()
    for path in sorted(EXAMPLES.glob("*.jpg")):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        shares.append(len(png(pixels)) / len(pillow(pixels)))
        ratios.append(
            took_s(lambda pixels=pixels: png(pixels)) / took_s(lambda pixels=pixels: pillow(pixels, compress_level=1, compress_type=zlib.Z_RLE))
        )
    figure("room, as a share of Pillow's default", statistics.mean(shares), at_most=1.03, unit="×")
    figure("time, as a share of its run-length encoder", statistics.median(ratios), at_most=0.75, unit="×")
