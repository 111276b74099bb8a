"""Through the door: pictures from pictures. What survives, what stays to the byte, and how large it becomes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from engine import Engine, Failed, InvalidRequest, NotFound, Settings, parse_request
from engine.diffusion.masking import seam_width
from engine.library.metadata import read_recipe
from tests.conftest import OWNER, events_of
from tests.pictures import Rgb, bring, bring_mask, distance, draw, encoded, read, scene

STRENGTHS = (0.1, 0.3, 0.5, 0.7, 0.9)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(Settings(data=tmp_path_factory.mktemp("data"), worker="inline", dtype="float32", device="cpu")) as running:
        yield running


def test_a_result_is_a_source(engine: Engine) -> None:
    first = draw(engine, "txt2img")[0]
    source = engine.input_from_picture(first.id, OWNER)
    assert (source.width, source.height) == (64, 64)
    drawn = draw(engine, "img2img", source=source.hash, strength=0.4, steps=5, width=96)[0]
    assert read(drawn).shape == (64, 96, 3)
    assert read_recipe(drawn.path).source == source.hash
    with pytest.raises(NotFound):
        engine.input_from_picture(first.id, "visitor-other")


# All places of the schedule on a few pictures, three of them on many: together they fit into a test run.
@pytest.mark.parametrize(("count", "strengths"), [(6, STRENGTHS), (64, STRENGTHS[::2])])
def test_the_distance_to_the_source_grows_with_strength(engine: Engine, count: int, strengths: tuple[float, ...]) -> None:
    sources = [scene(number=number) for number in range(count)]
    hashes = [bring(engine, source) for source in sources]
    far = np.zeros((len(strengths), count))
    for row, strength in enumerate(strengths):
        for number, source in enumerate(sources):
            drawn = draw(engine, "img2img", source=hashes[number], strength=strength, steps=10, seed=number, guidance_scale=1)
            far[row, number] = distance(read(drawn[0]), source)
    single = (np.diff(far, axis=0) > 0).mean()
    print(f"{count} pictures, strength {strengths}: mean distance {far.mean(1).round(2).tolist()}; {single:.0%} of single steps grow")
    assert (np.diff(far.mean(1)) > 0).all()
    assert far[0].mean() < far[-1].mean() / 2


@pytest.mark.parametrize("region", ["masked", "whole"])
@pytest.mark.parametrize("fill", ["original", "blur", "neighbours", "noise"])
def test_outside_the_mask_every_byte_stays(engine: Engine, region: str, fill: str) -> None:
    # Neither edge is a multiple of 8, and the mask touches the border.
    image = scene(101, 77, number=3)
    source = bring(engine, image)
    mask = bring_mask(engine, source, (60, 30, 101, 60), (101, 77))
    for is_soft, feather in ((False, 0), (True, 12.0)):
        values = {"source": source, "mask": mask, "strength": 0.9, "region": region, "fill": fill, "is_soft": is_soft, "feather": feather}
        drawn = read(draw(engine, "inpaint", padding=8, **values)[0])
        assert drawn.shape == image.shape
        reach = round(feather)
        kept = np.ones(image.shape[:2], bool)
        kept[30 - reach : 60 + reach, 60 - reach :] = False
        assert kept.mean() > 0.4
        assert (drawn[kept] == image[kept]).all()
        assert (drawn[32:58, 62:] != image[32:58, 62:]).any(2).mean() > 0.8


@pytest.mark.parametrize(("side", "size"), [("left", (104, 64)), ("top", (64, 104)), ("right", (104, 64)), ("bottom", (64, 104))])
def test_a_grown_frame_keeps_the_old_picture(engine: Engine, side: str, size: tuple[int, int]) -> None:
    image = scene(number=5)
    grown = read(draw(engine, "inpaint", source=bring(engine, image), fill="neighbours", strength=1, **{f"expand_{side}": 40})[0])
    assert grown.shape[1::-1] == size
    x, y = (40 if side == "left" else 0), (40 if side == "top" else 0)
    old = grown[y : y + 64, x : x + 64]
    # The seam: a strip, and half of its feather.
    keep = math.ceil(seam_width(64, 64) * 1.5) + 1
    inner = {"left": np.s_[:, keep:], "top": np.s_[keep:], "right": np.s_[:, :-keep], "bottom": np.s_[:-keep]}[side]
    assert (old[inner] == image[inner]).all()
    border = {"left": np.s_[:, :40], "top": np.s_[:40], "right": np.s_[:, -40:], "bottom": np.s_[-40:]}[side]
    assert len(np.unique(grown[border].reshape(-1, 3), axis=0)) > 100


def test_several_rounds_grow_a_panorama(engine: Engine) -> None:
    picture = draw(engine, "txt2img")[0]
    middle = read(picture)[:, 20:-20]
    for number in range(1, 4):
        source = engine.input_from_picture(picture.id, OWNER).hash
        picture = draw(engine, "inpaint", source=source, expand_left=32, expand_right=32, strength=1, fill="neighbours", seed=number)[0]
        assert (picture.width, picture.height) == (64 + 64 * number, 64)
    at = 96 + 20
    assert (read(picture)[:, at : at + 24] == middle).all()


def test_growing_all_around_a_mask(engine: Engine) -> None:
    image = scene(number=6)
    source = bring(engine, image)
    mask = bring_mask(engine, source, (28, 28, 36, 36), (64, 64))
    drawn = read(draw(engine, "inpaint", source=source, mask=mask, expand_left=8, expand_top=16, expand_right=24, expand_bottom=32, feather=0)[0])
    assert drawn.shape == (64 + 48, 64 + 32, 3)
    old = drawn[16 : 16 + 64, 8 : 8 + 64]
    kept = np.zeros((64, 64), bool)
    kept[13:-13, 13:-13] = True
    kept[28:36, 28:36] = False
    assert (old[kept] == image[kept]).all()
    assert (old[28:36, 28:36] != image[28:36, 28:36]).any()


MODES: dict[str, dict[str, Any]] = {
    "txt2img": {"variation_seed": 5, "variation_strength": 0.3, "negative_prompt": "blurry"},
    "img2img": {"strength": 0.5, "fit": "pad", "width": 96},
    "inpaint": {"expand_left": 16, "is_soft": True, "fill": "noise", "variation_strength": 0.2, "seed": None},
    "upscale": {"factor": 2, "upscaler": "lanczos", "strength": 0.4, "overlap": 32, "prompt": ""},
}


@pytest.mark.parametrize("mode", MODES)
def test_a_recipe_makes_every_picture_of_a_batch_again(engine: Engine, mode: str) -> None:
    image = scene(number=2)
    values = dict(MODES[mode])
    if mode != "txt2img":
        values["source"] = bring(engine, image)
    if mode == "inpaint":
        values["mask"] = bring_mask(engine, values["source"], (20, 20, 40, 40), (64, 64))
    batch = draw(engine, mode, count=2, scheduler="euler_a", **values)
    for number, picture in enumerate(batch):
        recipe = read_recipe(picture.path)
        assert recipe == picture.recipe
        asked = recipe.to_request()
        job = engine.submit(asked, OWNER)
        assert job.recipe == recipe
        assert read(events_of(engine, job.id)[-1].pictures[0]).tobytes() == read(picture).tobytes(), number  # type: ignore[union-attr]
    assert read(batch[0]).tobytes() != read(batch[1]).tobytes()


def test_a_variation_turns_from_one_picture_into_another(engine: Engine) -> None:
    one, other = (read(draw(engine, "txt2img", seed=seed, scheduler="ddim", steps=4)[0]) for seed in (1, 2))

    def turned(share: float) -> Rgb:
        return read(draw(engine, "txt2img", seed=1, variation_seed=2, variation_strength=share, scheduler="ddim", steps=4)[0])

    assert turned(0).tobytes() == one.tobytes()
    # sin(a) · noise / sin(a) is the noise to rounding.
    assert np.abs(turned(1).astype(int) - other).max() <= 1
    between = [turned(share) for share in (0.25, 0.5, 0.75)]
    away, near = [distance(x, one) for x in between], [distance(x, other) for x in between]
    print(f"variation 0.25, 0.5, 0.75: {np.round(away, 2)} from the seed's picture, {np.round(near, 2)} from the variation seed's")
    assert 0 < away[0] < away[1] < away[2] < distance(one, other)
    assert distance(one, other) > near[0] > near[1] > near[2] > 0


def test_sources_and_masks_that_do_not_fit_are_refused(engine: Engine) -> None:
    source, large = bring(engine, scene()), bring(engine, scene(72, 64))
    mask = engine.add_mask(large, encoded(np.full((64, 72), 255, np.uint8)), OWNER).hash
    asked = {"mode": "inpaint", "prompt": "a castle", "source": source, "mask": mask}
    with pytest.raises(InvalidRequest, match="72 × 64 and the source 64 × 64") as wrong:
        engine.submit(parse_request(asked), OWNER)
    assert wrong.value.field == "mask"
    theirs = bring(engine, scene(number=999), "visitor-other")
    for mode in ("img2img", "inpaint", "upscale"):
        with pytest.raises(NotFound) as missing:
            engine.submit(parse_request({**asked, "mode": mode, "source": theirs} if mode == "inpaint" else _plain(mode, theirs)), OWNER)
        assert missing.value.field == "source"
    own = engine.add_input(encoded(scene(number=10)), "visitor-third").hash
    with pytest.raises(NotFound) as missing:
        engine.submit(parse_request({**asked, "source": own}), "visitor-third")
    assert missing.value.field == "mask"
    with pytest.raises(InvalidRequest, match="Nothing is masked"):
        parse_request({"mode": "inpaint", "prompt": "a castle", "source": source})
    huge = bring(engine, np.zeros((2000, 1600, 3), np.uint8))
    with pytest.raises(InvalidRequest, match="51 megapixels") as wrong:
        engine.submit(parse_request({**_plain("upscale", huge), "factor": 4}), OWNER)
    assert wrong.value.field == "factor"


def _plain(mode: str, source: str) -> dict[str, object]:
    return {"mode": mode, "prompt": "a castle", "source": source}


def test_a_source_that_is_gone_fails_its_job_in_words(engine: Engine) -> None:
    source = bring(engine, scene(number=11))
    job = engine.submit(parse_request({**_plain("img2img", source), "steps": 2, "width": 64, "height": 64}), OWNER)
    assert not isinstance(events_of(engine, job.id)[-1], Failed)
    engine.input_path(source).unlink()
    with pytest.raises(NotFound, match="not here any more"):
        engine.submit(parse_request(_plain("img2img", source)), OWNER)
    ending = events_of(engine, engine.duplicate(job.id, OWNER).id)[-1]
    assert isinstance(ending, Failed)
    assert ending.error.field == "source"
