"""What works beside a model is in the same book of bytes: another VAE, an upscaler, a scorer, a preprocessor. It comes and goes, and changes nothing."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from engine.contract.work import HostMessage, MapTask, Pixels, Work
from engine.diffusion.painter import Painter
from engine.diffusion.parts import Part, module_bytes
from engine.diffusion.preprocessors import MapMaker, networks_of
from tests.conftest import STARTER
from tests.diffusion.test_laying_in import GB, card, host, painter, recipe, stay_of

UPSCALER = STARTER.parents[1] / "upscalers" / "starter-x2.safetensors"
NAMES = {"another VAE": "VAE ", "an upscaler": "upscaler", "a scorer": "scorer"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE that is not the starter's own, and a source."""
    folder = tmp_path_factory.mktemp("guests")
    shutil.copytree(STARTER / "vae", folder / "vae")
    (stored,) = (folder / "vae").glob("*.safetensors")
    save_file({name: value * 0.97 for name, value in load_file(stored).items()}, stored, metadata={"format": "pt"})
    slope = np.add.outer(np.arange(48), np.arange(48)) * 255 // 96
    Image.fromarray(np.repeat(slope[..., None], 3, 2).astype(np.uint8)).save(folder / "source.png")
    return folder


def work(guest: str, files: Path) -> Work:
    if guest == "another VAE":
        return Work("job", recipe(vae="vae"), STARTER, vae=files / "vae")
    if guest == "a scorer":
        return Work("job", recipe(score_guidance="clip", score_scale=40.0), STARTER)
    asked = recipe(mode="upscale", source="0" * 64, factor=2, overlap=16, strength=0.5, upscaler="x2", upscaler_hash="")
    return Work("job", asked, STARTER, inputs={"0" * 64: files / "source.png"}, upscaler=UPSCALER)


def drawn(own: Painter, guest: str, files: Path) -> bytes:
    return next(one.rgb for one in own.paint(work(guest, files)) if isinstance(one, Pixels))


def held(own: Painter) -> dict[str, Part]:
    parts = {name: part for (_, name), part in own._residency._held.items()}
    assert all(isinstance(part, Part) for part in parts.values())
    return parts


def book_is_right(own: Painter) -> None:
    for name, part in held(own).items():
        is_here = not next(part.module.parameters()).is_meta
        assert is_here == (part.place != "disk"), name
        assert part.bytes == (module_bytes(part.module) if is_here else part.bytes)
    assert own._residency.bytes_on("device") == sum(part.bytes for part in held(own).values() if part.place == "device")


@pytest.mark.parametrize("guest", NAMES)
def test_it_is_counted_and_comes_back_the_same(guest: str, files: Path) -> None:
    own = painter(host(4))
    bare = next(one.rgb for one in own.paint(Work("job", recipe(), STARTER)) if isinstance(one, Pixels))
    model = own._residency.bytes_on("device")
    first = drawn(own, guest, files)
    (name,) = [name for name in held(own) if name.startswith(NAMES[guest])]
    assert held(own)[name].bytes > 0
    assert own._residency.bytes_on("device") == model + held(own)[name].bytes
    weights = {key: value.clone() for key, value in held(own)[name].module.state_dict().items()}
    own._residency.rest_all()
    assert own._residency.bytes_on("device") == 0
    assert all(value.is_meta for value in held(own)[name].module.parameters())
    assert drawn(own, guest, files) == first
    after = held(own)[name].module.state_dict()
    assert all(torch.equal(weights[key], after[key]) for key in weights)
    book_is_right(own)
    # Nothing of it stays in the model.
    assert next(one.rgb for one in own.paint(Work("job", recipe(), STARTER)) if isinstance(one, Pixels)) == bare


@pytest.mark.parametrize("guest", NAMES)
@pytest.mark.parametrize("room", [host(0.255), card(0.26), card(0.2525)])
def test_a_tight_budget_draws_the_same_and_is_kept(guest: str, room: Any, files: Path) -> None:
    expected, own = drawn(painter(host(4)), guest, files), painter(room)
    for _ in range(2):
        assert drawn(own, guest, files) == expected
        assert own._residency.bytes_on("device") <= room.bytes
        book_is_right(own)


def test_another_vae_leaves_the_models_own_where_it_is(files: Path) -> None:
    """A part that has nothing to do is not brought onto the device"""
    own = painter(host(4), "parts")
    drawn(own, "another VAE", files)
    assert stay_of(own).parts["vae"].place == "disk"
    assert [name for name, part in held(own).items() if part.place == "device"] == [f"VAE {files / 'vae'}"]


@pytest.mark.parametrize("seed", range(3))
def test_a_body_that_raises_anywhere_leaves_the_book_right(seed: int, files: Path) -> None:
    rng, own = random.Random(seed), painter(host(0.3))
    expected = {guest: drawn(painter(host(4)), guest, files) for guest in NAMES}
    for _ in range(6):
        run: Iterator[HostMessage] = own.paint(work(rng.choice(list(NAMES)), files))
        stop = rng.randrange(8)
        for number, _ in enumerate(run):
            if number == stop:
                if rng.random() < 0.5:
                    with pytest.raises(ZeroDivisionError):
                        run.throw(ZeroDivisionError())
                break
        run.close()
        book_is_right(own)
        assert own._residency.bytes_on("device") <= 0.3 * GB
        stay = stay_of(own)
        assert (stay._beside, stay._instead, stay._put_in) == ({}, {}, 0)
    assert {guest: drawn(own, guest, files) for guest in NAMES} == expected


def test_only_one_vae_and_one_upscaler_are_kept(files: Path, tmp_path: Path) -> None:
    own = painter(host(4))
    other = Path(shutil.copytree(files / "vae", tmp_path / "other"))
    for path in (files / "vae", other):
        list(own.paint(Work("job", recipe(vae="vae"), STARTER, vae=path)))
    assert [name for name in held(own) if name.startswith("VAE ")] == [f"VAE {other}"]


def test_preprocessors_share_a_budget_and_the_one_used_last_stays(files: Path) -> None:
    def made(maker: MapMaker, name: str) -> bytes:
        return maker.make(MapTask(name, {"low": 100, "high": 200} if name == "canny" else {}, files / "source.png")).rgb

    wide, tight = MapMaker(device="cpu"), MapMaker(device="cpu", budget_bytes=1)
    first = {name: made(wide, name) for name in ("depth", "canny")}
    depth = wide._held["depth", None]
    assert depth.bytes == sum(module_bytes(one) for one in networks_of(depth.library)) > 100_000
    assert wide._residency.bytes_on("device") == depth.bytes
    assert made(wide, "depth") == first["depth"]
    assert wide._held["depth", None] is depth
    for _ in range(2):
        assert {name: made(tight, name) for name in ("depth", "canny")} == first
        assert list(tight._held) == [("canny", None)]
        assert tight._residency.bytes_on("device") == 0
    # One that is in use is never in its own way, and a map that cannot be made leaves the book right.
    with pytest.raises(Exception, match="cannot be read"):
        tight.make(MapTask("hed", {"safe": 0, "scribble": 0}, files / "source.png", files / "nothing"))
    assert tight._residency.bytes_on("device") == sum(one.bytes for one in tight._held.values())


def test_a_card_is_left_to_the_models_after_each_map(files: Path) -> None:
    """The CPU stands in for a device with a memory of its own"""
    maker = MapMaker(device="cpu")
    usual = maker.make(MapTask("depth", {}, files / "source.png"))
    maker._residency = type(maker._residency)(device_bytes=GB, host_bytes=GB)
    maker._residency.hold(("depth", None), maker._held["depth", None])
    assert maker.make(MapTask("depth", {}, files / "source.png")) == usual
    assert maker._held["depth", None].place == "host"
    assert maker.make(MapTask("depth", {}, files / "source.png")) == usual
