"""The terminal over pictures: each mode by its flags, several pictures at once, and flags that contradict each other."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine import Engine, Progress
from engine.__main__ import main
from engine.library.catalogue import read_card
from engine.library.metadata import read_recipe
from engine.terminal.generate import bar
from tests.conftest import STARTER
from tests.diffusion.families import make_family
from tests.diffusion.ip_adapters import make_adapter, write_adapter, write_encoder

SMALL = ("--steps", "2", "--width", "64", "--height", "64", "--seed", "5")


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.stdout)


Easel = Callable[..., Done]


@pytest.fixture
def easel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Easel:
    """`python -m engine generate …` in a folder of its own, without the cost of another process."""
    monkeypatch.setenv("EASEL_WORKER", "inline")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        try:
            code = main(["generate", *arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A picture of two colours: not square, so that a wrong turn or a wrong fit shows."""
    image = Image.new("RGB", (96, 64), "navy")
    image.paste("orange", (0, 32, 96, 64))
    image.save(tmp_path / "source.png")
    return tmp_path / "source.png"


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    image = Image.new("L", (96, 64), 0)
    image.paste(255, (60, 20, 90, 50))
    image.save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.mark.usefixtures("source")
def test_init_makes_a_picture_from_a_picture(easel: Easel, tmp_path: Path) -> None:
    done = easel("a castle", "--init", "source.png", "--strength", "0.5", "--fit", "pad", *SMALL, "--out", "castle.png", "--json")
    assert done.code == 0, done.stderr
    recipe = done.json["pictures"][0]["recipe"]
    assert (recipe["mode"], recipe["strength"], recipe["fit"]) == ("img2img", 0.5, "pad")
    assert size_of(tmp_path / "castle.png") == (64, 64)
    assert read_recipe(tmp_path / "castle.png").to_plain() == recipe


@pytest.mark.usefixtures("source", "mask")
def test_mask_repaints_a_part_and_leaves_the_rest(easel: Easel, tmp_path: Path) -> None:
    done = easel(
        "a castle", "--init", "source.png", "--mask", "mask.png", "--region", "whole", "--padding", "16", "--feather", "0", "--soft-mask",
        "--fill", "noise", "--strength", "1", *SMALL, "--out", "repainted.png", "--json",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    recipe = done.json["pictures"][0]["recipe"]
    chosen = [recipe[name] for name in ("mode", "region", "padding", "feather", "is_soft", "fill")]
    assert chosen == ["inpaint", "whole", 16, 0.0, True, "noise"]
    with Image.open(tmp_path / "source.png") as before, Image.open(tmp_path / "repainted.png") as after:
        changed = (np.asarray(before) != np.asarray(after)).any(axis=2)
    assert changed[20:50, 60:90].mean() > 0.9
    changed[20:50, 60:90] = False
    assert not changed.any()


@pytest.mark.usefixtures("source")
def test_outpaint_grows_the_frame(easel: Easel, tmp_path: Path) -> None:
    done = easel("a castle", "--init", "source.png", "--outpaint", "left=32,top=16", "--outpaint", "right=8", *SMALL, "--out", "wide.png")
    assert done.code == 0, done.stderr
    assert size_of(tmp_path / "wide.png") == (96 + 32 + 8, 64 + 16)
    assert read_recipe(tmp_path / "wide.png").expand == (32, 16, 8, 0)


@pytest.mark.usefixtures("source")
def test_upscale_needs_no_words_and_counts_its_tiles(easel: Easel, tmp_path: Path) -> None:
    done = easel(
        "--init", "source.png", "--upscale", "2", "--upscaler", "lanczos", "--overlap", "16", "--strength", "0.5", *SMALL, "--out", "big.png"
    )
    assert done.code == 0, done.stderr
    assert size_of(tmp_path / "big.png") == (192, 128)
    tiles = {(int(tile), int(tiles)) for tile, tiles in re.findall(r"tile (\d+)/(\d+)", done.stderr)}
    assert max(tiles) == (12, 12)
    recipe = read_recipe(tmp_path / "big.png")
    assert (recipe.factor, recipe.upscaler, recipe.overlap, recipe.prompt) == (2, "lanczos", 16, "")


def test_the_bar_fills_over_all_tiles() -> None:
    text = bar(Progress("x", 0, 2, 1, 2, None, 3.04, tile=2, tiles=5), width=10)
    assert text == "picture 1/2  tile 3/5  █████·····  step 1/2  3.0 s left"


def test_variations_and_seamless_reach_the_recipe(easel: Easel, tmp_path: Path) -> None:
    done = easel("a wall", "--variation-strength", "0.2", "--variation-seed", "8", "--seamless", "xy", "--count", "2", *SMALL, "--out", "wall.png")
    assert done.code == 0, done.stderr
    recipes = [read_recipe(tmp_path / name) for name in ("wall-1.png", "wall-2.png")]
    assert [(r.seed, r.variation_seed, r.variation_strength, r.seamless) for r in recipes] == [(5, 8, 0.2, "xy"), (5, 9, 0.2, "xy")]


def test_vary_writes_one_picture_for_each_value(easel: Easel, tmp_path: Path) -> None:
    done = easel("a castle", "--vary", "guidance=2,4", "--vary", "steps=1,2", *SMALL[2:], "--out", "out.png")
    assert done.code == 0, done.stderr
    recipes = [read_recipe(tmp_path / f"out-{number}.png") for number in (1, 2, 3, 4)]
    assert [(r.guidance_scale, r.steps, r.seed) for r in recipes] == [(2, 1, 5), (4, 1, 5), (2, 2, 5), (4, 2, 5)]
    assert "out-3.png  Guidance 2, Steps 2  seed 5" in done.stdout
    assert "4/4  picture 1/1" in done.stderr


def test_a_cell_that_cannot_run_is_told_and_the_others_are_written(easel: Easel, tmp_path: Path) -> None:
    done = easel("a castle", "--vary", "guidance=2,99,4", "--count", "2", *SMALL, "--out", "out.png", "--json")
    assert done.code == 1
    assert "Guidance 99: Guidance cannot be '99'. Choose a number from 0 to 30." in done.stderr.splitlines()
    assert sorted(path.name for path in tmp_path.glob("out-*.png")) == ["out-1-1.png", "out-1-2.png", "out-3-1.png", "out-3-2.png"]
    assert [one["label"] for one in done.json["failed"]] == ["Guidance 99"]


def test_vary_writes_a_zip_where_out_is_one(easel: Easel, tmp_path: Path) -> None:
    done = easel("a castle", "--vary", "guidance=2,4", *SMALL, "--out", "grid.zip")
    assert done.code == 0, done.stderr
    assert done.stdout.startswith("grid.zip  2 pictures")
    with zipfile.ZipFile(tmp_path / "grid.zip") as archive:
        assert archive.namelist() == ["001-guidance-2.png", "002-guidance-4.png", "recipes.jsonl"]
    assert list(tmp_path.glob("*.part")) == []


@pytest.mark.usefixtures("source")
def test_a_zip_of_pictures_in_is_a_zip_out(easel: Easel, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write("source.png", "photos/a.png")
        archive.writestr("photos/b.png", b"<html>")
        archive.write("source.png", "photos/c.png")
    done = easel("a castle", "--init", "in.zip", "--strength", "0.5", *SMALL)
    assert done.code == 1
    assert "b.png: This file is not a picture." in done.stderr
    with zipfile.ZipFile(tmp_path / "easel.zip") as archive:
        assert archive.namelist() == ["001-a-png.png", "002-c-png.png", "recipes.jsonl"]


def test_dataset_writes_classes_with_captions(easel: Easel, tmp_path: Path) -> None:
    done = easel("a {red|blue} castle", "--dataset", "--count", "2", *SMALL, "--out", "castles.zip", "--json")
    assert done.code == 0, done.stderr
    assert done.json["path"] == "castles.zip"
    with zipfile.ZipFile(tmp_path / "castles.zip") as archive:
        lines = [json.loads(line) for line in archive.read("train/metadata.jsonl").splitlines()]
    assert [(line["file_name"], line["text"]) for line in lines] == [
        ("red/0001.png", "a red castle"), ("red/0002.png", "a red castle"), ("blue/0001.png", "a blue castle"), ("blue/0002.png", "a blue castle"),
    ]  # fmt: skip


@pytest.mark.usefixtures("source")
def test_a_picture_is_edited_by_a_sentence(easel: Easel, tmp_path: Path) -> None:
    make_family(tmp_path / "data" / "models" / "klein", "flux2")
    Image.new("RGB", (70, 64), (20, 120, 40)).save(tmp_path / "hat.png")
    done = easel(
        "put the hat of picture 2 on it", "--init", "source.png", "--edit", "--picture", "hat.png", "--model", "klein", "--steps", "1", "--out", "edited.png"
    )  # fmt: skip
    assert done.code == 0, done.stderr
    recipe = read_recipe(tmp_path / "edited.png")
    assert (recipe.mode, len(recipe.pictures or ()), recipe.strength) == ("edit", 1, None)
    with Image.open(tmp_path / "edited.png") as edited, Image.open(tmp_path / "source.png") as original:
        assert edited.size == original.size


def test_what_was_changed_on_the_way_in_is_told(easel: Easel, tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    done = easel("a castle", "--init", "clear.png", *SMALL)
    assert done.code == 0
    assert "clear.png: Transparent parts became white." in done.stderr


INIT = ("--init", "source.png")


@pytest.mark.usefixtures("source", "mask")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x", "--mask", "mask.png"), "--mask needs --init."),
        (("x", "--outpaint", "left=8"), "--outpaint needs --init."),
        (("--upscale", "2"), "--upscale needs --init."),
        (("x", "--strength", "0.5"), "--strength needs --init."),
        (("x", "--vary", "strength=0.2,0.5"), "--strength needs --init."),
        (("x", *INIT, "--feather", "4"), "--feather needs --mask or --outpaint."),
        (("x", *INIT, "--soft-mask"), "--soft-mask needs --mask or --outpaint."),
        (("x", *INIT, "--overlap", "64"), "--overlap needs --upscale."),
        (("x", "--edit"), "--edit needs --init."),
        (("x", *INIT, "--picture", "small.png"), "--picture needs --edit."),
        (("x", *INIT, "--edit", "--mask", "mask.png"), "--edit cannot be used together with --mask."),
        (("x", *INIT, "--edit", "--outpaint", "left=8"), "--edit cannot be used together with --outpaint."),
        (("x", *INIT, "--edit", "--strength", "0.5"), "--edit cannot be used together with --strength."),
        (("x", *INIT, "--edit"), "Easel starter repaints; editing by a sentence needs FLUX.1 Kontext, Qwen-Image-Edit or FLUX.2 klein."),
        ((*INIT, "--edit"), "The prompt is empty. Say what to change"),
        (("x", *INIT, "--edit", "--picture", "missing.png"), "Cannot read missing.png (No such file or directory). Choose another --picture."),
        (("x", "--variation-seed", "1"), "--variation-seed needs --variation-strength."),
        (("x", *INIT, "--upscale", "2", "--mask", "mask.png"), "--upscale cannot be used together with --mask."),
        (("x", *INIT, "--upscale", "2", "--outpaint", "left=8"), "--upscale cannot be used together with --outpaint."),
        (("x", *INIT, "--fit", "pad", "--mask", "mask.png"), "--fit cannot be used together with --mask."),
        (("x", "--vary", "seed=1,2", "--seed", "3"), "--seed cannot be used together with --vary seed."),
        (("x", "--vary", "seed=1,2", "--dataset"), "--vary cannot be used together with --dataset."),
        (("x", "--init", "a.zip", "--mask", "mask.png"), "--mask cannot be used together with a zip as --init."),
        (("x", "--vary", "seed=1", "--vary", "steps=1", "--vary", "width=64"), "--vary can be used twice at most."),
        (("x", "--vary", "guidance"), "--vary guidance=3,6,9"),
        (("x", "--vary", "mood=sad"), "mood cannot be varied."),
        (("x", "--vary", "guidance=x,y"), "Guidance cannot be 'x'."),
        (("x", *INIT, "--outpaint", "middle=8"), "--outpaint takes each of left, top, right, bottom once."),
        (("x", *INIT, "--outpaint", "left=8,left=16"), "--outpaint takes each of left, top, right, bottom once."),
        (("x", *INIT, "--outpaint", "left=99999"), "Grow left cannot be '99999'."),
        (("x", *INIT, "--outpaint", "left=0"), "Nothing is masked."),
        (("x", *INIT, "--strength", "nan"), "Strength cannot be 'nan'."),
        (("x", *INIT, "--upscale", "3"), "Enlarge cannot be '3'. Choose 2 or 4."),
        ((*INIT, "--strength", "0.5"), "The prompt is empty."),
        (("x", "--init", "missing.png"), "Cannot read missing.png (No such file or directory)."),
        (("x", "--init", "missing.zip"), "Cannot read missing.zip (No such file or directory)."),
        (("x", "--init", "."), "Cannot read . (Is a directory)."),
        (("x", *INIT, "--mask", "small.png"), "The mask is 32 × 32 and the source 96 × 64."),
        (("x", *INIT, "--mask", "black.png"), "The mask is empty."),
        (("x", "--init", "page.png"), "This file is not a picture."),
        (("x", "--init", "page.zip"), "This zip cannot be opened."),
        (("x", "--init", "page.zip", "--out", "a.png"), "--out has to end in .zip here."),
        (("a {b|c}", "--dataset", "--out", "a.png"), "--out has to end in .zip here."),
        (("x", "--out", "a.zip"), "--out ends in .zip."),
    ],
)  # fmt: skip
def test_flags_that_cannot_be_meant_are_one_sentence(arguments: tuple[str, ...], words: str, easel: Easel, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (32, 32), 255).save("small.png")
    Image.new("L", (96, 64), 0).save("black.png")
    for name in ("page.png", "page.zip"):
        Path(name).write_text("<html></html>")
    monkeypatch.setattr(Engine, "start", lambda _: pytest.fail("judged before the model is loaded"))
    done = easel(*arguments)
    assert done.code == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_an_out_that_cannot_be_written_is_one_sentence(easel: Easel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for arguments in (("--out", "file/a.png"), ("--vary", "guidance=2", "--out", "file/a.zip")):
        done = easel("a castle", *SMALL, *arguments)
        assert done.code == 1
        assert f"Cannot write {arguments[-1]}" in done.stderr
        assert "Traceback" not in done.stderr


def test_help_names_the_flags(easel: Easel) -> None:
    done = easel("--help")
    assert done.code == 0
    for flag in (
        "--init",
        "--mask",
        "--edit",
        "--picture",
        "--outpaint",
        "--upscale",
        "--vary",
        "--dataset",
        "--seamless",
        "--variation-seed",
        "--soft-mask",
    ):
        assert flag in done.stdout


@pytest.fixture
def seeing(tmp_path: Path) -> None:
    """An adapter for the starter and an image encoder where people drop them."""
    write_adapter(tmp_path / "data" / "ip_adapters" / "mine.safetensors", make_adapter(read_card(STARTER)))
    write_encoder(tmp_path / "data" / "image_encoders" / "tower")


def test_the_starter_needs_no_file_to_see_a_reference(easel: Easel, source: Path) -> None:
    done = easel("a castle", "--ref", f"{source}:1", "--json", *SMALL)
    assert done.code == 0, done.stderr
    (use,) = done.json["pictures"][0]["recipe"]["references"]
    assert (use["adapter"], use["image_encoder"], use["weight"]) == ("starter", "model", 1.0)


@pytest.mark.usefixtures("seeing")
def test_reference_pictures(easel: Easel, source: Path, tmp_path: Path) -> None:
    odd = tmp_path / "at 12:30.png"
    odd.write_bytes(source.read_bytes())
    done = easel("a castle", "--ref", f"{source}:0.8:0-0.5", "--ref", str(odd), "--ref", f"{odd}:0.25-1", "--ref-adapter", "mine", "--json", *SMALL)
    assert done.code == 0, done.stderr
    uses = done.json["pictures"][0]["recipe"]["references"]
    assert [(use["weight"], use["start"], use["end"], use["style_only"]) for use in uses] == [
        (0.8, 0.0, 0.5, False), (0.6, 0.0, 1.0, False), (0.6, 0.25, 1.0, False),
    ]  # fmt: skip
    assert {use["adapter"] for use in uses} == {"mine"}
    styled = easel("a castle", "--ref", f"{source}:1", "--ref-style", "--ref-adapter", "mine", "--json", *SMALL)
    assert styled.json["pictures"][0]["recipe"]["references"][0]["style_only"] is True


@pytest.mark.usefixtures("seeing")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--ref-style",), "--ref-style needs --ref."),
        (("--ref", "nowhere.png:0.5"), "Cannot read nowhere.png"),
        (("--ref", "{source}:3"), "The weight of reference picture 1 cannot be '3'. Choose a number from 0 to 2."),
        (("--ref", "{source}:1:0.8-0.2"), "The window of reference picture 1 ends before it starts."),
        (("--ref", "{source}", "--ref-adapter", "nothing"), "There is no reference adapter named nothing here."),
        (("--ref", "{source}") * 5, "That would be more than 4 reference pictures."),
    ],
)
def test_bad_references_are_one_sentence(easel: Easel, source: Path, arguments: tuple[str, ...], words: str) -> None:
    done = easel("a castle", *(one.format(source=source) for one in arguments), *SMALL)
    assert done.code in (1, 2)
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(("name", "kind"), [("castle.jpg", "JPEG"), ("castle.webp", "WEBP"), ("castle", "PNG")])
def test_the_ending_of_out_is_what_the_file_is(easel: Easel, tmp_path: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = easel("a castle", *SMALL, "--out", name, "--json")
    assert done.code == 0, done.stderr
    with Image.open(tmp_path / name) as image:
        assert image.format == kind
    assert main(["inspect", str(tmp_path / name)]) == 0
    assert json.loads(capsys.readouterr().out) == done.json["pictures"][0]["recipe"]
