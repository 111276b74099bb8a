"""Single checkpoint files in `data/models`: found, named and drawn with like folders, in every mode; what cannot be used says why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from engine import Engine, EngineError, Settings, parse_request
from engine.library.metadata import read_recipe
from tests.conftest import OWNER
from tests.diffusion.originals import make_pair, to_original
from tests.pictures import bring, bring_mask, draw, is_same, read, scene

FAMILIES = ("sd1", "sdxl")
SMALL = {"width": 64, "height": 96, "steps": 2}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    data: Path = tmp_path_factory.mktemp("data")
    for family in FAMILIES:
        make_pair(data / "models", family)
    with Engine(Settings(data=data, worker="inline", dtype="float32", device="cpu")) as running:
        yield running


@pytest.fixture
def models(engine: Engine) -> Iterator[Path]:
    """The shelf, as it was before."""
    folder = engine.settings.data / "models"
    before = set(folder.iterdir())
    yield folder
    for path in set(folder.iterdir()) - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def refusal(engine: Engine, name: str) -> str:
    return next(card.refusal or "" for card in engine.models() if card.name == name)


def test_a_file_has_the_card_of_its_folder(engine: Engine) -> None:
    cards = {card.name: card for card in engine.models()}
    for family in FAMILIES:
        file, folder = cards[f"{family}.safetensors"], cards[f"{family}-folder"]
        assert (file.family, file.title, file.refusal) == (family, family, None)
        for fact in ("text_width", "residuals", "attention_widths", "noise_curve", "default_steps", "default_size", "sizes", "guidance"):
            assert getattr(file, fact) == getattr(folder, fact), fact
        assert file.parts.keys() >= {"denoiser", "vae", "text_encoder"}
        assert engine.plan("euler", None, 5, file.name) == engine.plan("euler", None, 5, folder.name) != ()
        said, wanted = (engine.words("a red castle at sunset, (fog:1.2)", card.name) for card in (file, folder))
        assert said == wanted
        assert [one.encoder for one in said] == ["tokenizer", "tokenizer_2"][: len(said)]


@pytest.mark.parametrize("family", FAMILIES)
def test_it_draws_what_its_folder_draws_in_every_mode(engine: Engine, family: str) -> None:
    source = bring(engine, scene(80, 112))
    mask = bring_mask(engine, source, (20, 30, 60, 70), (80, 112))
    wishes = {
        "txt2img": {}, "img2img": {"source": source, "strength": 0.6}, "inpaint": {"source": source, "mask": mask, "strength": 0.8},
        "upscale": {"source": source, "factor": 2, "strength": 0.5, "upscaler": "lanczos", "height": 64},
    }  # fmt: skip
    names = (f"{family}.safetensors", f"{family}-folder")
    # One model after the other: each is loaded once.
    made = {name: {mode: draw(engine, mode, model=name, **{**SMALL, **wish})[0] for mode, wish in wishes.items()} for name in names}
    for mode, file in made[names[0]].items():
        assert is_same(read(file), read(made[names[1]][mode])), mode
        assert (read_recipe(file.path).model, read_recipe(file.path).model_hash) == (names[0], file.recipe.model_hash)


def test_a_name_says_nothing(engine: Engine, models: Path) -> None:
    shutil.copy(models / "sdxl.safetensors", models / "sd15-pruned.safetensors")
    card = engine.model("sd15-pruned.safetensors")
    assert (card.family, card.what) == ("sdxl", "It is a whole model of SDXL, in the original layout.")
    assert is_same(*(read(draw(engine, "txt2img", model=name, **SMALL)[0]) for name in (card.name, "sdxl.safetensors")))


def test_its_hash_is_the_one_that_other_programs_show(engine: Engine, models: Path) -> None:
    import hashlib

    made = draw(engine, "txt2img", model="sd1.safetensors", **SMALL)[0]
    assert made.recipe.model_hash == hashlib.sha256((models / "sd1.safetensors").read_bytes()).hexdigest()


def test_a_note_beside_it_says_how_it_is_used(engine: Engine, models: Path) -> None:
    shutil.copy(models / "sd1.safetensors", models / "dreamy.safetensors")
    (models / "dreamy.json").write_text(
        json.dumps({"title": "Dreamy", "default_steps": 11, "licence": "mit", "activation text": "another program's"})
    )
    card = engine.model("dreamy.safetensors")
    assert (card.title, card.default_steps, card.licence) == ("Dreamy", 11, "mit")
    (models / "dreamy.json").write_text("{{{")
    assert "dreamy.json cannot be read" in refusal(engine, "dreamy.safetensors")


def test_a_file_without_text_encoder_borrows_it(engine: Engine, models: Path) -> None:
    to_original(models / "sdxl-folder", models / "bare.safetensors", "sdxl", without=("text_encoder", "text_encoder_2", "vae"))
    card = engine.model("bare.safetensors")
    assert card.refusal is None
    assert is_same(*(read(draw(engine, "txt2img", model=name, **SMALL)[0]) for name in ("bare.safetensors", "sdxl-folder")))
    shutil.copytree(models / "sdxl-folder", models / "sdxl-other")
    assert refusal(engine, "bare.safetensors").endswith(
        'it has no text encoder, and could borrow from 2 folders. Say which in bare.json, beside it: {"base": "sdxl-folder"}.'
    )
    (models / "bare.json").write_text('{"base": "sdxl-other"}')
    assert refusal(engine, "bare.safetensors") == ""
    (models / "bare.json").write_text('{"base": "sd1-folder"}')
    assert "it borrows from sd1-folder, which is no folder of Stable Diffusion XL here." in refusal(engine, "bare.safetensors")


def test_where_nothing_can_be_borrowed_it_says_what_is_missing(tmp_path: Path) -> None:
    folder, _ = make_pair(tmp_path / "elsewhere", "sdxl")
    engine = Engine(Settings(data=tmp_path / "data", worker="inline", device="cpu"))
    (tmp_path / "data" / "models").mkdir()
    to_original(folder, tmp_path / "data" / "models" / "bare.safetensors", "sdxl", without=("text_encoder",))
    assert refusal(engine, "bare.safetensors").endswith(
        "it has no text encoder, and no folder of Stable Diffusion XL is here to borrow from. "
        "Put a model of it into data/models as a folder: this file then draws with the rest of that one."
    )


def test_a_file_that_is_holed_leaves_the_others_serving(engine: Engine, models: Path) -> None:
    tensors = load_file(models / "sd1.safetensors")
    del tensors["first_stage_model.decoder.mid.block_1.conv1.weight"]
    save_file(tensors, models / "holed.safetensors")
    before = read(draw(engine, "txt2img", model="sd1.safetensors", **SMALL)[0])
    job = engine.submit(parse_request({"prompt": "x", "model": "holed.safetensors", **SMALL}), OWNER)
    with engine.watch(job.id, owner=OWNER) as watch:
        assert "The VAE in holed.safetensors cannot be loaded" in str(list(watch)[-1])
    assert np.array_equal(read(draw(engine, "txt2img", model="sd1.safetensors", **SMALL)[0]), before)


def test_an_edit_denoiser_is_refused_by_what_it_takes(engine: Engine, models: Path) -> None:
    to_original(make_pair(models / "aside", "sd1", in_channels=8)[0], models / "edits.safetensors", "sd1")
    assert "its denoiser takes 8 channels" in refusal(engine, "edits.safetensors")
    with pytest.raises(EngineError, match="cannot be used"):
        engine.submit(parse_request({"prompt": "x", "model": "edits.safetensors"}), OWNER)
