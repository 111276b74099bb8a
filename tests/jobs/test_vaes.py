"""Another VAE in the place of a model's own: found in `data/vaes`, told apart by its latents, written down, and gone without a trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine import Engine, EngineError, IncompatibleAdapter, ModelNotFound, Settings, parse_request
from engine.library.metadata import parameters_text, read_recipe
from tests.conftest import OWNER
from tests.diffusion.families import make_family
from tests.diffusion.originals import make_pair, make_vae, to_original, vae_keys
from tests.library.key_tables import kohya, sd1, unet_layers, write
from tests.pictures import bring, bring_mask, draw, is_same, read, scene

SMALL = {"width": 64, "height": 96, "steps": 2}
SD1 = "sd1.safetensors"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    data: Path = tmp_path_factory.mktemp("data")
    shelf = data / "vaes"
    folder, _ = make_pair(data / "models", "sd1")
    sdxl, _ = make_pair(data / "models", "sdxl")
    make_family(data / "models" / "qwen", "qwen")
    torch.manual_seed(99)
    make_vae().eval().save_pretrained(shelf / "as-folder")
    stored = load_file(shelf / "as-folder" / "diffusion_pytorch_model.safetensors")
    save_file(stored, shelf / "diffusers.safetensors")
    save_file({name: value.contiguous() for name, value in vae_keys(stored).items()}, shelf / "original.safetensors")
    save_file({f"first_stage_model.{name}": value.contiguous() for name, value in vae_keys(stored).items()}, shelf / "prefixed.safetensors")
    make_vae(latents=16).eval().save_pretrained(shelf / "sixteen")
    make_vae(scaling=0.13025).eval().save_pretrained(shelf / "of-sdxl")
    to_original(folder, data / "models" / "without.safetensors", "sd1", without=("vae",))
    to_original(sdxl, data / "models" / "xl-without.safetensors", "sdxl", without=("vae",))
    with Engine(Settings(data=data, worker="inline", dtype="float32", device="cpu")) as running:
        yield running


def paint(engine: Engine, **values: object) -> np.ndarray:
    return read(draw(engine, "txt2img", **{"model": SD1, **SMALL, **values})[0])


def test_every_layout_is_the_same_vae_and_the_model_is_as_it_was(engine: Engine) -> None:
    before = paint(engine)
    drawn = [paint(engine, vae=name) for name in ("as-folder", "diffusers", "original", "prefixed")]
    assert all(is_same(one, drawn[0]) for one in drawn)
    assert not np.array_equal(drawn[0], before)
    assert np.array_equal(paint(engine), before)


def test_it_is_in_the_recipe_and_makes_the_picture_again(engine: Engine) -> None:
    made = draw(engine, "txt2img", model=SD1, vae="original", **SMALL)[0]
    recipe = read_recipe(made.path)
    assert (recipe.vae, recipe.vae_hash) == ("original", next(card.content_hash for card in engine.vaes() if card.name == "original"))
    assert recipe.vae_hash is not None
    assert f"VAE: original, VAE hash: {recipe.vae_hash[:10]}" in parameters_text(recipe)
    assert recipe.to_request().vae == "original"
    again = engine.submit(recipe.to_request(), OWNER)
    assert again.recipe == recipe
    assert engine.read_settings(made.path.read_bytes(), OWNER).values["vae"] == "original"
    # A picture without another one says nothing of it: recipes of old keep their bytes.
    assert "vae" not in draw(engine, "txt2img", model=SD1, **SMALL)[0].recipe.canonical_json()


def test_a_picture_that_names_a_vae_that_is_gone_says_so(engine: Engine) -> None:
    path = engine.settings.data / "vaes" / "fleeting.safetensors"
    path.write_bytes((path.parent / "original.safetensors").read_bytes())
    made = draw(engine, "txt2img", model=SD1, vae="fleeting", **SMALL)[0]
    path.unlink()
    found = engine.read_settings(made.path.read_bytes(), OWNER)
    assert [one.message for one in found.missing] == ["The VAE fleeting is not here. Put its file into data/vaes, or go on with the model's own."]
    assert "vae" not in found.values


def test_it_is_used_on_the_way_in_too(engine: Engine) -> None:
    source = bring(engine, scene(64, 96))
    mask = bring_mask(engine, source, (20, 30, 60, 70), (64, 96))
    for mode, more in {"img2img": {"strength": 0.4}, "inpaint": {"mask": mask}, "upscale": {"factor": 2, "strength": 0.3, "height": 64}}.items():
        own, other = (read(draw(engine, mode, **{**SMALL, "model": SD1, "source": source, **more, "vae": vae})[0]) for vae in (None, "original"))
        assert own.shape == other.shape
        assert not np.array_equal(own, other), mode


@pytest.mark.parametrize(
    ("model", "vae", "said"),
    [
        (SD1, "sixteen", "The VAE sixteen has 16 latent channels, and sd1 draws with 4."),
        (SD1, "of-sdxl", "The VAE of-sdxl multiplies its latents by 0.13025, and sd1 was trained with 0.18215."),
        ("starter", "original", "The VAE original"),
        ("qwen", "original", "cannot be put in the place of the VAE of qwen."),
        ("without.safetensors", None, "without has no VAE of its own."),
    ],
)
def test_one_that_does_not_fit_is_refused_by_name(engine: Engine, model: str, vae: str | None, said: str) -> None:
    with pytest.raises(IncompatibleAdapter, match=said) as caught:
        engine.submit(parse_request({"prompt": "x", "model": model, "vae": vae, **SMALL}), OWNER)
    assert caught.value.field == "vae"
    assert caught.value.hint


def test_a_model_without_one_draws_with_what_is_put_beside_it(engine: Engine) -> None:
    assert engine.model("without.safetensors").wants_vae
    assert is_same(paint(engine, model="without.safetensors", vae="original"), paint(engine, vae="original"))
    # Of a family whose previews are measured on its VAE.
    assert paint(engine, model="xl-without.safetensors", vae="original").shape == (96, 64, 3)


def test_a_model_may_be_used_with_another_one_as_a_rule(engine: Engine) -> None:
    note = engine.settings.data / "models" / "sd1.json"
    other, own = paint(engine, vae="original"), paint(engine)
    note.write_text(json.dumps({"vae": "original.safetensors"}))
    try:
        made = draw(engine, "txt2img", model=SD1, **SMALL)[0]
        assert (made.recipe.vae, np.array_equal(read(made), other)) == ("original", True)
        made = draw(engine, "txt2img", model=SD1, vae="own", **SMALL)[0]
        assert (made.recipe.vae, made.recipe.vae_hash, np.array_equal(read(made), own)) == ("own", None, True)
        assert made.recipe.to_request().vae == "own"
        note.write_text(json.dumps({"vae": "Automatic", "notes": "of another program"}))
        assert np.array_equal(paint(engine), own)
    finally:
        note.unlink()


def test_what_is_no_vae_says_what_it_is(engine: Engine, tmp_path: Path) -> None:
    shelf = engine.settings.data / "vaes"
    made = [
        write(shelf / "lora.safetensors", kohya(unet_layers(768, start="lora_unet_", glue="_"))), write(shelf / "whole.safetensors", sd1()),
        shelf / "old.pt", shelf / "cut.safetensors",
    ]  # fmt: skip
    made[2].write_bytes(b"\x80\x02}q\x00.")
    made[3].write_bytes((shelf / "original.safetensors").read_bytes()[:-1])
    try:
        refused = {card.name: card.refusal or "" for card in engine.vaes()}
        assert refused["lora"] == "It is a LoRA for Stable Diffusion 1, in the kohya layout. Put it into data/loras."
        assert refused["whole"].endswith("Put it into data/models.")
        assert "is a pickle, which can carry a program." in refused["old"]
        assert "it is cut short" in refused["cut"]
        with pytest.raises(IncompatibleAdapter, match="The VAE old cannot be used"):
            engine.submit(parse_request({"prompt": "x", "model": SD1, "vae": "old", **SMALL}), OWNER)
        with pytest.raises(ModelNotFound, match="There is no VAE named nothing here"):
            engine.submit(parse_request({"prompt": "x", "model": SD1, "vae": "nothing", **SMALL}), OWNER)
        for odd in ("../vaes/original", "a b", "x" * 65):
            with pytest.raises(EngineError):
                parse_request({"prompt": "x", "vae": odd})
    finally:
        for path in made:
            path.unlink()
