"""Control units through the door: a model dropped in, a map made once, pictures of every mode, the recipe and back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import (
    CONTROLS_MAX,
    Busy,
    Engine,
    IncompatibleAdapter,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    Settings,
    TextToImage,
    WorkerLost,
    parse_request,
)
from engine.contract.work import MapTask
from engine.controls import MAPS_AT_ONCE
from engine.diffusion.loading import Components
from engine.jobs.hosts.maps import InlineMaps, ProcessMaps
from engine.library.metadata import parameters_text, read_recipe
from tests.conftest import OWNER, STARTER
from tests.diffusion.controls import make_control, write_folder
from tests.diffusion.test_source_equality import load
from tests.jobs.test_engine import pixels
from tests.pictures import bring, bring_mask, draw, encoded, read, scene
from tests.studio import wait_for

Make = Callable[..., TextToImage]


@pytest.fixture(scope="module")
def starter() -> Components:
    return load(STARTER)


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory, starter: Components) -> Path:
    """A whole ControlNet of the starter, untrained: it bends every picture, the same way each time."""
    return write_folder(tmp_path_factory.mktemp("controls") / "quick-edges", make_control(starter.unet, seed=1, size=0.2))


@pytest.fixture
def desk(inline_engine: Engine, control: Path) -> Engine:
    folder = inline_engine.settings.data / "controlnets"
    folder.mkdir()
    # Linked, not copied: the file never changes and is read by name.
    (folder / "quick-edges").symlink_to(control, target_is_directory=True)
    return inline_engine


def unit(desk: Engine, **values: Any) -> dict[str, Any]:
    return {"image": bring(desk, scene(96, 72)), "preprocessor": "canny", "control": "quick-edges", **values}


def test_a_unit_changes_the_picture_and_is_gone_afterwards(desk: Engine) -> None:
    card = next(card for card in desk.controls.cards() if card.name == "quick-edges")
    assert (card.kind, card.preprocessor, card.family, card.problem) == ("edges", "canny", "the starter", None)
    plain = draw(desk, "txt2img")[0]
    steered = draw(desk, "txt2img", controls=[unit(desk)])[0]
    again = draw(desk, "txt2img")[0]
    assert pixels(steered.path) != pixels(plain.path) == pixels(again.path)


def test_the_starter_s_own_controls_need_no_name_and_no_download(desk: Engine) -> None:
    plain = draw(desk, "txt2img")[0]
    for preprocessor, control in {"canny": "starter-edges", "lineart_standard": "starter-edges", "depth": "starter-depth"}.items():
        picture = draw(desk, "txt2img", controls=[unit(desk, preprocessor=preprocessor, control=None)])[0]
        assert picture.recipe.controls is not None
        assert picture.recipe.controls[0].control == control
        assert pixels(picture.path) != pixels(plain.path)


@pytest.mark.parametrize("values", [{"weight": 0}, {"start": 0.5, "end": 0.5}])
def test_no_weight_or_no_time_is_the_plain_picture_to_the_byte(desk: Engine, values: dict[str, float]) -> None:
    assert pixels(draw(desk, "txt2img", controls=[unit(desk, **values)])[0].path) == pixels(draw(desk, "txt2img")[0].path)


def test_the_recipe_makes_it_again(desk: Engine) -> None:
    asked = unit(desk, settings={"low": 40}, weight=0.8, start=0.1, end=0.9, fit="pad")
    picture = draw(desk, "txt2img", controls=[asked, unit(desk, preprocessor="none", weight=0.5)])[0]
    recipe = read_recipe(picture.path)
    assert recipe == picture.recipe
    assert recipe.controls is not None
    first, second = recipe.controls
    assert first.settings == {"low": 40, "high": 200}
    assert (len(first.control_hash or ""), len(first.map or ""), second.map) == (64, 64, second.image)
    assert recipe.inputs == (first.map, second.map)
    assert 'ControlNet 0: "Module: canny, Model: quick-edges, Weight: 0.8' in parameters_text(recipe)
    request = recipe.to_request()
    assert request.controls == recipe.controls
    again = draw(desk, "txt2img", **request.model_dump(exclude={"mode"}, exclude_none=True))[0]
    assert pixels(again.path) == pixels(picture.path)
    assert again.recipe == recipe


def test_a_map_is_made_once_and_belongs_to_whoever_asks(desk: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    image = scene(120, 90, number=3)
    mine, yours = bring(desk, image), bring(desk, image, owner="visitor-other")
    start = time.perf_counter()
    first = desk.controls.map(mine, "canny", {}, OWNER)
    made_s = time.perf_counter() - start

    def never(_self: InlineMaps, _task: MapTask) -> None:
        raise AssertionError("the preprocessor ran again")

    monkeypatch.setattr(InlineMaps, "make", never)
    start = time.perf_counter()
    assert desk.controls.map(mine, "canny", {"high": 200}, OWNER) == first
    print(f"map of 120 × 90: made in {made_s * 1000:.0f} ms, found again in {(time.perf_counter() - start) * 1000:.1f} ms")
    assert desk.controls.map(yours, "canny", {}, "visitor-other").hash == first.hash
    assert desk.input_image(first.hash, "visitor-other").width == 120
    with pytest.raises(NotFound):
        desk.input_image(first.hash, "visitor-third")
    with pytest.raises(NotFound) as caught:
        desk.controls.map(mine, "canny", {}, "visitor-third")
    assert caught.value.field == "controls"


def test_other_modes_follow_too(desk: Engine) -> None:
    source = bring(desk, scene(64, 64))
    mask = bring_mask(desk, source, (16, 16, 48, 48), (64, 64))
    for mode, values in {
        "img2img": {"strength": 0.7}, "inpaint": {"mask": mask}, "upscale": {"strength": 0.4, "upscaler": "lanczos", "overlap": 16},
    }.items():  # fmt: skip
        plain = draw(desk, mode, source=source, **values)[0]
        steered = draw(desk, mode, source=source, controls=[unit(desk, weight=1.5)], **values)[0]
        assert pixels(steered.path) != pixels(plain.path), mode
        if mode == "inpaint":
            # Feathered over 8 pixels: the corner is out of reach.
            assert np.array_equal(read(steered)[:8, :8], scene(64, 64)[:8, :8])


def test_edges_still_meet_with_a_control(desk: Engine) -> None:
    """A texture's units see the opposite edge too: a map of one colour leaves no seam."""
    flat = bring(desk, np.full((64, 64, 3), 90, np.uint8))
    tiled = draw(desk, "txt2img", seamless="xy", controls=[unit(desk, image=flat, preprocessor="none")])[0]
    rolled = np.roll(read(tiled).astype(float), 32, axis=1)
    across = np.abs(np.diff(rolled, axis=1)).mean((0, 2))
    assert across[31] < 2.5 * np.median(across) + 4


def test_of_many_maps_at_once_one_more_is_refused_at_once_and_all_others_are_made(desk: Engine) -> None:
    mine = bring(desk, scene())
    host = desk.controls._host  # pyright: ignore[reportPrivateUsage]
    assert isinstance(host, InlineMaps)
    made: list[str] = []

    def ask(high: int) -> None:
        made.append(desk.controls.map(mine, "canny", {"high": high}, OWNER).hash)

    threads = [threading.Thread(target=ask, args=(150 + number,)) for number in range(MAPS_AT_ONCE)]
    # As if the first one took long.
    with host._lock:  # pyright: ignore[reportPrivateUsage]
        for thread in threads:
            thread.start()
        wait_for(lambda: desk.controls._places._value == 0, 20, "all places taken")  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        with pytest.raises(Busy, match="Many maps"):
            desk.controls.map(mine, "canny", {"high": 149}, OWNER)
    for thread in threads:
        thread.join(20)
    assert len(made) == MAPS_AT_ONCE
    ask(149)


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        ({"control": "nothing"}, ModelNotFound, "no control named nothing"),
        ({"control": "../quick-edges"}, InvalidRequest, "The model of control unit 1"),
        ({"control": None, "preprocessor": "shuffle"}, IncompatibleAdapter, "what Shuffle makes"),
        ({"control": None, "preprocessor": "none"}, IncompatibleAdapter, "a finished map"),
        ({"preprocessor": "hed"}, ModelNotFound, r"Soft edges \(HED\) is not set up here: its weights \(29 MB"),
        ({"preprocessor": "Canny"}, InvalidRequest, "no preprocessor named 'Canny'"),
        ({"settings": {"low": 250}}, InvalidRequest, "Canny's weak edges"),
        ({"settings": {"middle": 3}}, InvalidRequest, "no setting named 'middle'"),
        ({"weight": 2.1}, InvalidRequest, "The weight of control unit 1 cannot be 2.1"),
        ({"weight": "nan"}, InvalidRequest, "weight"),
        ({"start": 0.8, "end": 0.2}, InvalidRequest, "starts at 0.8 and ends at 0.2"),
        ({"image": "0" * 64}, NotFound, "picture of a control unit"),
        ({"image": "../../secret"}, InvalidRequest, "The picture of control unit 1"),
        ({"surprise": 1}, InvalidRequest, "no 'surprise' in a control unit"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_queued(desk: Engine, values: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        desk.submit(parse_request({"prompt": "a castle", "controls": [unit(desk, **values)]}), OWNER)
    assert caught.value.field == "controls"  # type: ignore[attr-defined]
    assert desk.jobs(OWNER) == []


def test_lists_that_are_none_are_refused(desk: Engine) -> None:
    for controls in ("canny", [unit(desk)] * (CONTROLS_MAX + 1), [3], [{"preprocessor": "canny"}]):
        with pytest.raises(InvalidRequest) as caught:
            parse_request({"prompt": "a castle", "controls": controls})
        assert caught.value.field == "controls"
    with pytest.raises(InvalidRequest, match="At strength 0 nothing is drawn"):
        parse_request({"mode": "upscale", "source": "0" * 64, "strength": 0, "controls": [unit(desk)]})


def test_an_estimate_counts_the_units_and_makes_no_map(desk: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(desk, "txt2img")
    monkeypatch.delattr(InlineMaps, "make")
    plain, half, whole = (
        desk.estimate(parse_request({"prompt": "a", "controls": units}), OWNER).seconds or 0
        for units in ([], [unit(desk, end=0.5)], [unit(desk)])
    )  # fmt: skip
    assert plain < half < whole == pytest.approx(plain * 1.5)


def test_a_control_that_was_exchanged_is_not_used_quietly(desk: Engine, control: Path) -> None:
    recipe = draw(desk, "txt2img", controls=[unit(desk)])[0].recipe
    assert recipe.controls is not None
    with pytest.raises(IncompatibleAdapter, match="another file than when this was asked for"):
        desk._shelves.controlnets.pinned("quick-edges", "0" * 64)  # pyright: ignore[reportPrivateUsage]
    assert desk._shelves.controlnets.pinned("quick-edges", recipe.controls[0].control_hash).resolve() == control  # pyright: ignore[reportPrivateUsage]


def test_maps_have_a_process_of_their_own(tmp_path: Path) -> None:
    """It starts at the first map, dies alone with one sentence, is replaced, and ends when nothing is asked of it."""
    source = tmp_path / "source.png"
    source.write_bytes(encoded(scene(64, 64)))
    task = MapTask("canny", {"low": 100, "high": 200}, source)
    host = ProcessMaps(device="cpu", idle_s=2)
    assert host.pid is None
    start = time.perf_counter()
    first = host.make(task)
    cold_s = time.perf_counter() - start
    pid = host.pid
    assert pid is not None
    # Held, so that its end falls into the middle of a map.
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(WorkerLost, match="The process that makes maps has died") as caught:
        host.make(task)
    assert caught.value.field == "controls"
    again = host.make(task)
    assert again == first
    assert host.pid != pid
    start = time.perf_counter()
    host.make(task)
    print(f"a map in its own process: {cold_s:.1f} s at first, then {(time.perf_counter() - start) * 1000:.0f} ms")
    deadline = time.monotonic() + 20
    while host.pid is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert host.pid is None
    host.close()


def test_importing_the_engine_and_asking_for_cards_brings_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from engine import Engine, Settings; e = Engine(Settings(data=pathlib.Path(sys.argv[1]), worker='process'));"
        "assert len(e.controls.preprocessors()) == 16; e.controls.cards(); e.close(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(tmp_path)], timeout=120, check=False).returncode == 0


def test_settings_pick_the_host(tmp_path: Path) -> None:
    engine = Engine(Settings(data=tmp_path, worker="process"))
    assert isinstance(engine.controls._host, ProcessMaps)  # pyright: ignore[reportPrivateUsage]
    engine.close()
