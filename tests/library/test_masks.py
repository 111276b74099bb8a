"""Masks: strokes as the hand made them, at the size of the source, and mask files. White means repaint."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engine import Engine, InvalidRequest, NotFound, Settings, parse_strokes
from engine.library.masks import rasterise
from tests.conftest import OWNER
from tests.pictures import bring, draw, encoded, read, scene

WIDTH, HEIGHT = 64, 48


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Engine]:
    """An engine that was never started: keeping pictures and masks needs no model."""
    engine = Engine(Settings(data=tmp_path, worker="inline"))
    yield engine
    engine.close()


def stroke(tool: str, *points: float, **values: object) -> dict[str, object]:
    return {"tool": tool, "points": list(points), **values}


def mask_of(*strokes: dict[str, object], width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    mask = rasterise(parse_strokes(list(strokes)), width, height)
    assert (mask.shape, mask.dtype) == ((height, width), np.uint8)
    assert set(np.unique(mask)) <= {0, 255}
    return mask


def test_a_brush_is_as_wide_as_it_says_and_its_dot_too() -> None:
    for size in (1, 2, 3, 4, 9, 15):
        line = mask_of(stroke("brush", 10, 24, 50, 24, size=size)) > 0
        width = line[:, 30].sum()
        # OpenCV rounds up to an odd width, so that a line lies evenly around its points.
        assert size <= width <= size + 2
        dot = mask_of(stroke("brush", 32, 24, size=size)) > 0
        assert dot.sum(0).max() == dot.sum(1).max() == width
    assert line[24, 10:51].all()
    assert not line[:, 60:].any()


def test_later_strokes_lie_over_earlier_ones() -> None:
    brushed, erased = stroke("brush", 0, 24, 63, 24, size=21), stroke("erase", 32, 0, 32, 47, size=11)
    mask = mask_of(brushed, erased) > 0
    assert mask[24, 10]
    assert mask[24, 50]
    assert not mask[24, 32]
    assert (mask_of(erased, brushed) == mask_of(brushed)).all()


def test_the_lasso_adds_and_takes_away() -> None:
    outer = stroke("lasso", 8, 8, 56, 8, 56, 40, 8, 40)
    hole = stroke("lasso", 20, 16, 44, 16, 44, 32, 20, 32, is_erasing=True)
    mask = mask_of(outer, hole) > 0
    assert mask[10, 10]
    assert not mask[24, 32]
    assert mask_of(outer).sum() / 255 == 49 * 33
    assert not mask_of(stroke("lasso", 8, 8, 56, 8)).any()


def test_a_fill_stops_at_the_painted_line() -> None:
    ring = stroke("lasso", 8, 8, 56, 8, 56, 40, 8, 40), stroke("lasso", 10, 10, 54, 10, 54, 38, 10, 38, is_erasing=True)
    inside, outside = mask_of(*ring, stroke("fill", 30, 20)) > 0, mask_of(*ring, stroke("fill", 0, 0)) > 0
    assert inside[9:40, 9:56].all()
    assert not inside[:8].any()
    assert outside[:8].all()
    assert not outside[20, 30]
    assert mask_of(*ring, stroke("fill", 30, 20), stroke("fill", 0, 0)).all()


def test_whole_mask_tools() -> None:
    dot = stroke("brush", 32, 24, size=9)
    assert (mask_of(dot, stroke("invert")) == 255 - mask_of(dot)).all()
    assert (mask_of(dot, stroke("invert"), stroke("invert")) == mask_of(dot)).all()
    assert not mask_of(dot, stroke("clear")).any()
    assert mask_of(stroke("all")).all()
    assert not mask_of().any()


def test_points_off_the_canvas() -> None:
    assert not mask_of(stroke("brush", -500, -500, size=10), stroke("fill", -1, 99_999), stroke("erase", 1e5, 1e5)).any()
    across = mask_of(stroke("brush", -1000, 24, 1000, 24, size=5))
    assert across[22:27].all()
    assert not across[:20].any()
    assert mask_of(stroke("lasso", -1e5, -1e5, 1e5, -1e5, 1e5, 1e5, -1e5, 1e5)).all()
    assert mask_of(stroke("brush", -99_999, -99_999, 99_999, 99_999, size=32_767)).all()


@pytest.mark.parametrize(
    "strokes",
    [
        None, "brush", 5, {}, [1], [None], ["brush"], [{}], [stroke("x")], [stroke("brush", 1)], [stroke("brush", 1, 2, 3)],
        [stroke("brush", float("nan"), 1)], [stroke("brush", 1, float("inf"))], [stroke("brush", 1e6, 1)], [stroke("brush", 1, 2, evil=1)],
        [{"tool": "brush", "points": 5}], [{"tool": "brush", "points": None}], [{"tool": "brush", "points": "1,2"}],
        [{"tool": "brush", "points": {"x": 1}}], [{"tool": "brush", "points": [[1, 2]]}], [{"tool": "brush", "points": ["x", 2]}],
        *([stroke("brush", 1, 2, size=size)] for size in (0, -1, 32_768, 1e9, float("inf"), float("nan"), "wide", None)),
        [stroke("invert")] * 20_001, [stroke("brush", *[1] * 100_000)] * 5,
    ],
)  # fmt: skip
def test_odd_strokes_are_refused_in_one_sentence(strokes: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_strokes(strokes)
    assert caught.value.field == "mask"
    assert caught.value.hint


@pytest.mark.timed
def test_two_hundred_strokes_over_twelve_megapixels() -> None:
    rng = np.random.default_rng(2)
    walks = np.cumsum(rng.normal(0, 25, (200, 60, 2)), axis=1) + rng.uniform((0, 0), (4096, 3072), (200, 2))[:, None]
    strokes = parse_strokes([stroke("erase" if k % 7 == 0 else "brush", *walk.ravel(), size=20 + k % 80) for k, walk in enumerate(walks)])
    started = time.perf_counter()
    mask = rasterise(strokes, 4096, 3072)
    elapsed_s = time.perf_counter() - started
    print(f"200 strokes of 60 points at 4096 × 3072: {elapsed_s * 1000:.0f} ms, {mask.mean() / 255:.0%} white")
    assert 0.05 < mask.mean() / 255 < 0.95
    assert elapsed_s < 2


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (Image.new("L", (64, 64), 255), "The mask is 64 × 64 and the source 64 × 48."),
        (Image.new("L", (64, 48), 0), "The mask is empty."),
        (Image.new("RGBA", (64, 48), (255, 255, 255, 0)), "The mask is empty."),
    ],
)
def test_a_mask_file_that_does_not_fit_names_the_mask(library: Engine, mask: Image.Image, words: str) -> None:
    source = bring(library, scene(WIDTH, HEIGHT))
    with pytest.raises(InvalidRequest) as caught:
        library.add_mask(source, encoded(mask), OWNER)
    assert (caught.value.message, caught.value.field) == (words, "mask")
    with pytest.raises(InvalidRequest, match="not a picture") as caught:
        library.add_mask(source, b"<svg/>", OWNER)
    assert caught.value.field == "mask"


def test_strokes_and_files_make_the_same_mask(library: Engine) -> None:
    source = bring(library, scene(WIDTH, HEIGHT))
    strokes = parse_strokes([stroke("brush", 10, 10, 40, 30, size=9), stroke("fill", 60, 2)])
    painted = library.add_mask(source, strokes, OWNER)
    assert painted == library.add_mask(source, encoded(rasterise(strokes, WIDTH, HEIGHT)), OWNER)
    layer = Image.new("RGBA", (WIDTH, HEIGHT), (255, 255, 255, 0))
    layer.paste((255, 255, 255), (0, 0), Image.fromarray(rasterise(strokes, WIDTH, HEIGHT)))
    assert painted == library.add_mask(source, encoded(layer), OWNER), "what is clear in a layer is not masked"
    with pytest.raises(InvalidRequest, match="The mask is empty"):
        library.add_mask(source, (), OWNER)
    with pytest.raises(NotFound):
        library.add_mask(source, strokes, "visitor-other")


def test_an_all_white_mask_repaints_everything(inline_engine: Engine) -> None:
    image = np.full((72, 64, 3), (255, 0, 0), np.uint8)
    source = bring(inline_engine, image)
    mask = inline_engine.add_mask(source, encoded(Image.new("1", (64, 72), 1)), OWNER)
    for region in ("masked", "whole"):
        drawn = read(draw(inline_engine, "inpaint", source=source, mask=mask.hash, strength=1, region=region)[0])
        assert drawn.shape == image.shape
        assert (drawn != image).any(2).mean() > 0.9
