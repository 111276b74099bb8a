"""Through the door: larger pictures. Sizes, tiles that nobody sees, stop and go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from spandrel.architectures.Compact import Compact

from engine import Cancelled, Engine, Failed, Finished, ModelNotFound, Progress, Settings, parse_request
from engine.contract.tiles import plan_tiles
from engine.diffusion.images import Rgb, to_pixels, to_rgb
from engine.diffusion.upscalers import Quilt
from tests.conftest import OWNER, events_of
from tests.pictures import bring, draw, encoded, read, scene, steps_across

TILED = {"factor": 2, "upscaler": "lanczos", "strength": 0.4, "steps": 6, "overlap": 32, "prompt": "", "guidance_scale": 1}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(Settings(data=tmp_path_factory.mktemp("data"), worker="inline", dtype="float32", device="cpu")) as running:
        yield running


@pytest.mark.parametrize("upscaler", ["latent", "lanczos"])
@pytest.mark.parametrize("factor", [2, 4])
def test_sizes(engine: Engine, upscaler: str, factor: int) -> None:
    image = scene(72, 52)
    values = {"source": bring(engine, image), "factor": factor, "upscaler": upscaler, "prompt": "", "overlap": 16}
    plain, drawn = (read(draw(engine, "upscale", strength=strength, **values)[0]) for strength in (0, 0.4))
    assert plain.shape == drawn.shape == (52 * factor, 72 * factor, 3)
    assert (plain != drawn).any()
    # What was enlarged is still the same picture.
    small = plain.reshape(52, factor, 72, factor, 3).mean((1, 3))
    print(f"{upscaler} × {factor}: mean distance after shrinking {np.abs(small - image).mean():.2f}")
    assert np.abs(small - image).mean() < (25 if upscaler == "latent" else 2)


def test_a_network_in_tiles_equals_it_whole(engine: Engine) -> None:
    torch.manual_seed(3)
    network = Compact(num_feat=8, num_conv=3, upscale=2).eval()
    image = scene(400, 330, number=3)
    values = {"source": bring(engine, image), "factor": 2, "upscaler": "small", "strength": 0}
    with pytest.raises(ModelNotFound, match="no upscaler named small"):
        draw(engine, "upscale", **values)
    folder = engine.settings.data / "upscalers"
    folder.mkdir()
    save_file(network.state_dict(), folder / "small.safetensors")
    made = read(draw(engine, "upscale", **values)[0])
    with torch.inference_mode():
        whole = to_rgb(network((to_pixels(image) + 1) / 2)[0] * 2 - 1)
    assert len(plan_tiles(400, 330, 320, 320, 64)) == 4
    assert np.abs(made.astype(int) - whole).max() <= 1
    assert (made != whole).mean() < 1e-3
    large = read(draw(engine, "upscale", **{**values, "source": bring(engine, scene()), "factor": 4})[0])
    assert large.shape == (256, 256, 3)


def test_a_file_that_is_no_upscaler_says_so(engine: Engine) -> None:
    folder = engine.settings.data / "upscalers"
    folder.mkdir(exist_ok=True)
    save_file({"weight": torch.zeros(3)}, folder / "odd.safetensors")
    (folder / "broken.safetensors").write_bytes(b"\x10" + b"\0" * 40)
    for name in ("odd", "broken"):
        job = engine.submit(parse_request({"mode": "upscale", "source": bring(engine, scene()), "upscaler": name}), OWNER)
        ending = events_of(engine, job.id)[-1]
        assert isinstance(ending, Failed)
        assert ending.error.field == "upscaler", ending.error


def test_no_seam_at_the_tile_borders(engine: Engine) -> None:
    """Seam energy: the mean step across tile borders over the mean step across the three lines on either side of them.

    The same figure of the same pictures drawn in one piece is what it is held against: the decoder's own 8-pixel patches
    lift the step across every eighth line, with tiles or without, and tiles begin and end there.
    """
    edge, tile, count = 160, 64, 6
    tiled, whole = np.zeros((2, edge - 1)), np.zeros((2, edge - 1))
    for number in range(count):
        values = {**TILED, "source": bring(engine, scene(edge // 2, edge // 2, number=number)), "seed": number}
        tiled += steps_across(read(draw(engine, "upscale", width=tile, height=tile, **values)[0]))
        whole += steps_across(read(draw(engine, "upscale", width=edge, height=edge, **values)[0]))
    spans = {(one.x, one.x + one.width) for one in plan_tiles(edge, edge, tile, tile, 32)}
    borders = sorted({line - 1 for span in spans for line in span if 0 < line < edge})
    beside = [line + k for line in borders for k in (-3, -2, -1, 1, 2, 3)]
    energy = [float(steps[:, borders].mean() / steps[:, beside].mean()) for steps in (tiled, whole)]
    print(f"seam energy over {count} pictures, {len(borders)} borders: {energy[0]:.3f} in tiles, {energy[1]:.3f} in one piece")
    # A step that is no larger than those beside it is no seam, however smooth one piece is there.
    assert energy[0] <= 1.05 * max(energy[1], 1.0)


def test_tiles_that_differ_meet_without_a_step() -> None:
    rng = np.random.default_rng(4)
    canvas = np.zeros((208, 200, 3), np.uint8)
    quilt, blends = Quilt(canvas), []
    for tile in plan_tiles(200, 208, 80, 80, 32):
        quilt.lay(tile, np.full((80, 80, 3), rng.integers(0, 256), np.uint8))
        blends += [blend for blend in (tile.left_blend, tile.top_blend) if blend]
    # The steepest place of half a cosine over the narrowest overlap, and rounding.
    steepest = 255 * np.pi / 2 / min(blends) + 2
    for axis in (0, 1):
        assert np.abs(np.diff(canvas.astype(int), axis=axis)).max() <= steepest


def tile_files(engine: Engine) -> list[Path]:
    return sorted((engine.settings.data / "tiles").glob("*/*.png"))


def stop_after(engine: Engine, values: dict[str, object], tiles: int) -> str:
    """A job that was stopped once `tiles` tiles were kept."""
    job = engine.submit(parse_request({"mode": "upscale", "width": 64, "height": 64, **values}), OWNER)
    with engine.watch(job.id, owner=OWNER) as watch:
        for event in watch:
            if isinstance(event, Progress) and event.tile >= tiles:
                engine.cancel(job.id, owner=OWNER)
        assert isinstance(event, Cancelled)
    assert tiles <= len(tile_files(engine)) < 9
    return job.id


def again(engine: Engine, job_id: str) -> Rgb:
    ending = events_of(engine, engine.duplicate(job_id, OWNER).id)[-1]
    assert isinstance(ending, Finished), ending
    assert not tile_files(engine)
    return read(ending.pictures[0])


def test_tiles_that_other_weights_drew_are_drawn_again(engine: Engine) -> None:
    values: dict[str, object] = {**TILED, "source": bring(engine, scene(number=7)), "seed": 3}
    unbroken = read(draw(engine, "upscale", **values)[0])
    engine.memory.choose("fp8")
    try:
        job_id = stop_after(engine, values, 2)
        assert all(path.stem.endswith("-fp8") for path in tile_files(engine))
    finally:
        engine.memory.choose("automatic")
    ending = events_of(engine, engine.duplicate(job_id, OWNER).id)[-1]
    assert isinstance(ending, Finished)
    assert read(ending.pictures[0]).tobytes() == unbroken.tobytes()
    assert ending.note.startswith("This picture was begun with weights in 8 bits;")
    assert not tile_files(engine)


def test_a_stopped_run_goes_on_to_the_same_bytes(engine: Engine) -> None:
    values: dict[str, object] = {**TILED, "source": bring(engine, scene(number=7)), "seed": 3, "scheduler": "euler_a"}
    unbroken = read(draw(engine, "upscale", **values)[0])
    assert again(engine, stop_after(engine, values, 4)).tobytes() == unbroken.tobytes()
    # The seconds of the tiles that were left teach nobody what the whole takes.
    asked = parse_request({"mode": "upscale", **values})
    before = engine.estimate(asked, OWNER).seconds
    again(engine, stop_after(engine, values, 4))
    assert engine.estimate(asked, OWNER).seconds == before
    # A kept tile is really used: another one in its place is seen; a damaged one is drawn again.
    job_id = stop_after(engine, values, 2)
    tile_files(engine)[0].write_bytes(encoded(np.full((64, 64, 3), (255, 0, 0), np.uint8)))
    assert (again(engine, job_id)[:24, :24] == (255, 0, 0)).all()
    job_id = stop_after(engine, values, 2)
    tile_files(engine)[0].write_bytes(b"\x89PNG cut short")
    assert again(engine, job_id).tobytes() == unbroken.tobytes()
