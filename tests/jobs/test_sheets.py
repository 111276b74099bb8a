"""Through the door: many jobs that belong together. One that cannot run says why in its place; the others run."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from engine import Busy, Engine, InvalidRequest, NotFound, Settings, Sheet, parse_axis
from engine.contract.sheet import CELLS_MAX, expand_grid
from engine.library.metadata import read_recipe
from tests.conftest import OWNER, events_of
from tests.pictures import encoded, read, scene, zipped

SMALL = {"prompt": "a red castle", "steps": 2, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    settings = Settings(data=tmp_path_factory.mktemp("data"), worker="inline", dtype="float32", device="cpu", queue_limit=70)
    with Engine(settings) as running:
        yield running


def wait(engine: Engine, sheet: Sheet) -> list[str]:
    """The states of all cells once each is over."""
    for cell in sheet.cells:
        if cell.job_id:
            events_of(engine, cell.job_id)
    return [view.state for view in engine.sheets.cells(sheet)]


def unzipped(engine: Engine, sheet: Sheet, *, as_dataset: bool = False) -> dict[str, bytes]:
    target = io.BytesIO()
    engine.sheets.write(sheet.id, OWNER, target, as_dataset=as_dataset)
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_grid_with_a_cell_that_cannot_run(engine: Engine) -> None:
    axes = [parse_axis("guidance", "1, 4"), parse_axis("width", "64, 100001, 72")]
    sheet = engine.sheets.grid(SMALL, axes, OWNER)
    assert (sheet.columns, sheet.rows) == (("Guidance 1", "Guidance 4"), ("Width 64", "Width 100001", "Width 72"))
    assert wait(engine, sheet) == ["done", "done", "failed", "failed", "done", "done"]
    views = engine.sheets.cells(sheet)
    assert views[2].error is not None
    assert views[2].error["message"] == "Width cannot be '100001'."
    assert views[2].error["field"] == "width"
    assert [view.pictures[0].width for view in views if view.pictures] == [64, 64, 72, 72]
    assert [view.pictures[0].recipe.guidance_scale for view in views if view.pictures] == [1, 4, 1, 4]
    assert len({view.pictures[0].seed for view in views if view.pictures}) == 1, "cells differ in what varies, and in nothing else"
    with pytest.raises(InvalidRequest) as caught:
        engine.sheets.retry_cell(sheet.id, 2, OWNER)
    assert caught.value.field == "width"
    assert engine.sheets.newest(OWNER) == sheet


def test_a_failed_cell_is_retried_alone(engine: Engine) -> None:
    source = engine.add_input(encoded(scene()), OWNER)
    values = {"mode": "img2img", "source": source.hash, "seed": 5, **SMALL}
    path = engine.input_path(source.hash)
    sheet = engine.sheets.grid(values, [parse_axis("strength", "0.5, 1")], OWNER)
    assert wait(engine, sheet) == ["done", "done"]
    before = [view.pictures[0] for view in engine.sheets.cells(sheet)]
    # The source is away while one cell runs: that one fails at work, not at the door.
    aside = path.rename(path.with_suffix(".aside"))
    broken = engine.sheets.retry_cell(sheet.id, 1, OWNER)
    assert wait(engine, broken) == ["done", "failed"]
    error = engine.sheets.cells(broken)[1].error
    assert error is not None
    assert error["field"] == "source"
    aside.rename(path)
    mended = engine.sheets.retry_cell(sheet.id, 1, OWNER)
    assert wait(engine, mended) == ["done", "done"]
    assert mended.cells[0] == sheet.cells[0]
    assert mended.cells[1].job_id not in (sheet.cells[1].job_id, broken.cells[1].job_id)
    after = [view.pictures[0] for view in engine.sheets.cells(mended)]
    assert after[0] == before[0]
    assert read(after[1]).tobytes() == read(before[1]).tobytes()
    assert engine.sheets.get(sheet.id, OWNER) == mended
    with pytest.raises(NotFound):
        engine.sheets.retry_cell(sheet.id, 2, OWNER)


def test_a_sheet_of_another_owner_is_hidden(engine: Engine) -> None:
    sheet = engine.sheets.grid(SMALL, [parse_axis("seed", "1, 2")], OWNER)
    wait(engine, sheet)
    for act in (
        lambda: engine.sheets.get(sheet.id, "visitor-other"),
        lambda: engine.sheets.retry_cell(sheet.id, 0, "visitor-other"),
        lambda: engine.sheets.write(sheet.id, "visitor-other", io.BytesIO()),
    ):
        with pytest.raises(NotFound, match="This sheet is not here"):
            act()
    assert engine.sheets.newest("visitor-other") is None


def test_what_is_no_grid_is_refused(engine: Engine) -> None:
    waiting = len(engine.jobs(OWNER))
    nine = ",".join(str(number) for number in range(1, 10))
    for axes, words in (
        ([parse_axis("steps", nine), parse_axis("guidance", nine)], "That would be 81 pictures"),
        ([parse_axis("steps", ",".join(str(n) for n in range(1, CELLS_MAX + 2)))], f"That would be {CELLS_MAX + 1} pictures"),
        ([], "one or two different controls"),
        ([parse_axis("steps", "1"), parse_axis("steps", "2")], "one or two different controls"),
    ):
        with pytest.raises(InvalidRequest, match=words) as caught:
            engine.sheets.grid(SMALL, axes, OWNER)
        assert caught.value.field == "vary"
    for field, text in (("magic", "1"), ("", "1"), ("steps", ""), ("steps", ", ,"), ("owner", "x")):
        with pytest.raises(InvalidRequest) as caught:
            parse_axis(field, text)
        assert caught.value.field == "vary"
    with pytest.raises(InvalidRequest, match="Steps cannot be"):
        engine.sheets.grid(SMALL, [parse_axis("steps", "none, all")], OWNER)
    assert len(expand_grid(SMALL, [parse_axis("steps", nine), parse_axis("cfg", "1,2,3,4,5,6,7")])[2]) == 63
    assert len(engine.jobs(OWNER)) == waiting


def test_a_sheet_that_does_not_fit_into_the_queue_starts_nothing(engine: Engine) -> None:
    seeds = ",".join(str(number) for number in range(36))
    held = engine.sheets.grid({**SMALL, "steps": 100}, [parse_axis("seed", seeds)], "visitor-busy")
    try:
        with pytest.raises(Busy):
            engine.sheets.grid(SMALL, [parse_axis("seed", seeds)], "visitor-busy")
        assert len(engine.jobs("visitor-busy")) <= 36
        assert engine.sheets.newest("visitor-busy") == held
    finally:
        for cell in reversed(held.cells):
            engine.cancel(cell.job_id or "", owner="visitor-busy")


def test_a_folder_goes_in_and_comes_out_with_recipes(engine: Engine) -> None:
    files = {"b/ship.png": encoded(scene(number=1)), "castle.jpg": encoded(scene(), "JPEG"), "notes.txt": b"no picture", "z.png": b"<svg/>"}
    brought = engine.add_folder(zipped({**files, "__MACOSX/castle.jpg": b"x", ".hidden.png": b"x"}), OWNER)
    assert [(one.name, one.image is not None) for one in brought] == [("ship.png", True), ("castle.jpg", True), ("z.png", False)]
    sheet = engine.sheets.folder(brought, {"mode": "img2img", "strength": 0.5, **SMALL}, OWNER)
    assert wait(engine, sheet) == ["done", "done", "failed"]
    error = engine.sheets.cells(sheet)[2].error
    assert error is not None
    assert (error["message"], error["field"]) == ("This file is not a picture.", "source")
    out = unzipped(engine, sheet)
    assert sorted(out) == ["001-ship-png.png", "002-castle-jpg.png", "recipes.jsonl"]
    lines = [json.loads(line) for line in out["recipes.jsonl"].splitlines()]
    for line, one in zip(lines, brought, strict=False):
        recipe = read_recipe(io.BytesIO(out[line["file_name"]]))
        assert recipe.to_plain() == line["recipe"]
        assert one.image is not None
        assert recipe.source == one.image.hash
    # A picture whose file was deleted since then does not keep the others back.
    engine.sheets.cells(sheet)[0].pictures[0].path.unlink()
    assert sorted(unzipped(engine, sheet)) == ["001-castle-jpg.png", "recipes.jsonl"]


def test_a_dataset_has_as_many_pictures_of_each_class(engine: Engine) -> None:
    sheet = engine.sheets.dataset({**SMALL, "prompt": "a {red|blue} {castle|замок} at {dawn|}", "count": 2}, OWNER)
    assert set(wait(engine, sheet)) == {"done"}
    out = unzipped(engine, sheet, as_dataset=True)
    lines = [json.loads(line) for line in out["train/metadata.jsonl"].splitlines()]
    classes = Counter(line["file_name"].split("/")[0] for line in lines)
    assert set(classes) == {f"{c}-{s}{t}" for c in ("red", "blue") for s in ("castle", "замок") for t in ("-dawn", "")}
    assert set(classes.values()) == {2}
    for line in lines:
        picture = out["train/" + line["file_name"]]
        with Image.open(io.BytesIO(picture)) as image:
            assert np.asarray(image).shape == (64, 64, 3)
        assert read_recipe(io.BytesIO(picture)).prompt == line["text"]
        assert all(word in line["text"] for word in line["label"].split())
    assert len({line["seed"] for line in lines}) == len(lines)
    card = out["README.md"].decode()
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert "16 pictures" in card
    assert all(f"| {name} | 2 |" in card for name in classes)
