"""Files under the names of their first release, as people have them: known, read to the last weight, and drawn like the folder that they were made of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_flux2_transformer_checkpoint_to_diffusers,
    convert_flux_transformer_checkpoint_to_diffusers,
    convert_sd3_transformer_checkpoint_to_diffusers,
    convert_z_image_transformer_checkpoint_to_diffusers,
)
from safetensors.torch import load_file, save_file

from engine import DamagedFile, Engine, Settings
from engine.contract.families import FAMILIES
from engine.diffusion.single_file import check_parts, load_part
from engine.library.identify import identify
from engine.weights.layouts import in_diffusers_names
from engine.weights.single_files import read_single_file
from tests.diffusion.families import make_family, make_parts
from tests.diffusion.original_layouts import Tensors, prefixed, to_original, weights
from tests.diffusion.originals import clip_keys, vae_keys
from tests.jobs.test_borrowing_files import in_eight_bits, write_gguf
from tests.pictures import bring, distance, draw, is_same, read, scene

SMALL = {"width": 64, "height": 64, "steps": 2}
# Family, what its folder is made with, and what the file is called.
MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "dev": ("flux1", {"layers": 2}, "FLUX.1 dev, in the original layout."),
    "schnell": ("flux1", {"layers": 2, "guidance_embeds": False}, "FLUX.1 schnell, in the original layout."),
    "klein": ("flux2", {"layers": 2}, "FLUX.2, in the original layout."),
    "sd3": ("sd3", {}, "Stable Diffusion 3 3.5 medium, in the original layout."),
    "zimage": ("zimage", {}, "Z-Image, in the original layout."),
    "qwen": ("qwen", {}, "Qwen-Image, in the diffusers layout."),
}


def note(file: Path, **facts: Any) -> Path:
    file.with_suffix(".json").write_text(json.dumps(facts))
    return file


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    data: Path = tmp_path_factory.mktemp("data")
    models = data / "models"
    for name, (family, options, _) in MODELS.items():
        original = to_original(family, weights(make_family(models / name, family, **options)))
        save_file(original, note(models / f"{name}-bare.safetensors", base=name))
        save_file(prefixed(original), note(models / f"{name}-prefixed.safetensors", base=name))
    with Engine(Settings(data=data, worker="inline", dtype="float32", device="cpu")) as running:
        yield running


@pytest.fixture
def models(engine: Engine) -> Path:
    return engine.settings.data / "models"


def loaded(file: Path) -> Tensors:
    return load_part(read_single_file(file), "transformer", dtype=torch.float32).state_dict()


def is_equal(found: Tensors, wanted: Tensors) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], value) for name, value in wanted.items())


@pytest.mark.parametrize("way", ["bare", "prefixed"])
@pytest.mark.parametrize("name", MODELS)
def test_a_file_of_the_first_release_is_the_model_of_its_folder(engine: Engine, models: Path, name: str, way: str) -> None:
    file = models / f"{name}-{way}.safetensors"
    found = identify(file)
    assert (found.kind, found.family) == ("denoiser", MODELS[name][0])
    assert found.text.endswith(MODELS[name][2])
    assert is_equal(loaded(file), weights(models / name))
    card, folder = engine.model(file.name), engine.model(name)
    assert (card.refusal, card.guidance, card.default_steps) == (None, folder.guidance, folder.default_steps)
    made, wanted = (read(draw(engine, "txt2img", model=one, **SMALL)[0]) for one in (file.name, name))
    # Not to the bit: the same numbers lie elsewhere in memory, which decides how sums are rounded.
    assert is_same(made, wanted)


def test_kontext_by_its_name_edits_from_the_first_layout(engine: Engine, models: Path) -> None:
    file = models / "flux1-dev-kontext.safetensors"
    save_file(to_original("flux1", weights(models / "dev")), note(file, base="dev"))
    assert engine.model(file.name).editor == "FluxKontextPipeline"
    wish = {"source": bring(engine, scene(80, 112)), "prompt": "make it night", "width": 64, "height": 96, "steps": 2}
    folder = make_family(models / "whole", "flux1", made_for="edit", layers=2)
    assert is_same(*(read(draw(engine, "edit", model=one, **wish)[0]) for one in (file.name, folder.name)))


def all_in_one(models: Path, name: str) -> Tensors:
    """The denoiser, the VAE and the text encoders in one file, as the makers of SD 3 and of ComfyUI put them together."""
    stored = {part: load_file(next((models / name / part).glob("*.safetensors"))) for part in ("vae", "text_encoder", "text_encoder_2")}
    tensors = prefixed(to_original(MODELS[name][0], weights(models / name)))
    tensors |= prefixed(vae_keys(stored["vae"]), "first_stage_model." if name == "sd3" else "vae.")
    tensors |= prefixed(clip_keys(stored["text_encoder"]), "text_encoders.clip_l.transformer.")
    second = "text_encoders.clip_g.transformer." if name == "sd3" else "text_encoders.t5xxl.transformer."
    return {key: value.clone() for key, value in (tensors | prefixed(stored["text_encoder_2"], second)).items()}


@pytest.mark.parametrize("name", ["sd3", "dev"])
def test_a_whole_model_in_one_file_draws_with_its_denoiser_and_says_whose_the_rest_is(
    engine: Engine, models: Path, tmp_path: Path, name: str
) -> None:
    file = models / f"{name}-whole.safetensors"
    save_file(all_in_one(models, name), note(file, base=name))
    assert identify(file).kind == "checkpoint"
    assert is_equal(loaded(file), weights(models / name))
    card = engine.model(file.name)
    assert f"It draws with the VAE and the text encoder of {name}; what it holds of these itself is not read." in card.what
    assert is_same(*(read(draw(engine, "txt2img", model=one, **SMALL)[0]) for one in (file.name, name)))
    # Alone it says what to do.
    (tmp_path / "models").mkdir()
    shutil.copy(file, tmp_path / "models" / "alone.safetensors")
    with Engine(Settings(data=tmp_path, worker="inline", device="cpu")) as empty:
        refusal = next(card.refusal or "" for card in empty.models() if card.name == "alone.safetensors")
    title = FAMILIES[MODELS[name][0]].title
    assert refusal.endswith(
        f"but Easel does not read the VAE and the text encoder inside it, and no folder of {title} is here to borrow from. "
        "Put a model of it into data/models as a folder: this file then draws with the rest of that one."
    )


@pytest.mark.parametrize("way", ["dev-bare.safetensors", "dev-whole.safetensors"])
def test_what_fits_counts_each_part_once(engine: Engine, models: Path, way: str) -> None:
    """The denoiser is that of the file, and not the one of its folder as well."""
    if "whole" in way:
        save_file(all_in_one(models, "dev"), note(models / way, base="dev"))
    card, folder = engine.model(way), engine.model("dev")
    assert sum(card.parts.values()) == sum(folder.parts.values())


CONVERTERS: dict[str, Callable[..., Tensors]] = {
    "flux2": convert_flux2_transformer_checkpoint_to_diffusers,
    "sd3": convert_sd3_transformer_checkpoint_to_diffusers,
    "zimage": convert_z_image_transformer_checkpoint_to_diffusers,
}


def converted(family: str, original: Tensors) -> Tensors:
    """By our table."""
    cuts = in_diffusers_names(family, {name: tuple(value.shape) for name, value in original.items()})
    return {
        name: torch.cat([original[cut.source][start:end] for start, end in cut.rows]) if cut.rows else original[cut.source]
        for name, cut in cuts.items()
    }


@pytest.mark.parametrize("family", CONVERTERS)
def test_the_table_says_what_the_converter_of_diffusers_says(family: str) -> None:
    original = to_original(family, make_parts(family)["transformer"].state_dict())
    assert is_equal(converted(family, original), CONVERTERS[family](dict(original)))


@pytest.mark.parametrize("is_told", [True, False])
def test_the_table_of_flux1_says_the_same_at_the_only_width_that_diffusers_knows(is_told: bool) -> None:
    """3072 rows, each a number, and one column: the way the rows go is all there is to it."""
    small = to_original("flux1", make_parts("flux1", layers=2, guidance_embeds=is_told)["transformer"].state_dict())
    original = {
        name: torch.arange(len(value) * 96.0) if value.ndim == 1 else torch.arange(len(value) * 96.0)[:, None] for name, value in small.items()
    }
    assert len(original["single_blocks.0.linear1.weight"]) == 21504
    assert is_equal(converted("flux1", original), convert_flux_transformer_checkpoint_to_diffusers(dict(original)))


@pytest.mark.parametrize("way", ["F16", "BF16", "Q8_0"])
@pytest.mark.parametrize("name", ["dev", "schnell", "klein", "sd3", "zimage", "qwen"])
def test_a_gguf_has_the_names_of_the_first_release(engine: Engine, models: Path, name: str, way: str) -> None:
    family = MODELS[name][0]
    original = to_original(family, weights(models / name))
    file = write_gguf(note(models / f"{name}-{way}.gguf", base=name), prefixed(original) if way == "F16" else original, way)
    away = distance(*(read(draw(engine, "txt2img", model=one, **SMALL)[0]) for one in (file.name, name)))
    print(f"{file.name}: {away:.4f} of 255 from the picture in 32 bit")
    assert identify(file).text.endswith(MODELS[name][2])
    assert away <= {"F16": 0.3, "BF16": 1.5, "Q8_0": 3.0}[way]


@pytest.mark.parametrize("way", ["plain", "scale_weight", "weight_scale", "by-rows"])
@pytest.mark.parametrize("name", ["dev", "klein", "sd3", "zimage", "qwen"])
def test_eight_bits_with_scales_are_read_from_the_first_layout(models: Path, name: str, way: str) -> None:
    """A scale for each row goes with its rows, where one tensor of the file is three of the model."""
    family = MODELS[name][0]
    stored, meant = in_eight_bits(to_original(family, weights(models / name)), way)
    file = models / f"{name}-8-{way}.safetensors"
    save_file(prefixed(stored), note(file, base=name))
    assert is_equal(loaded(file), converted(family, meant))


def test_a_norm_may_call_its_scale_a_weight(models: Path) -> None:
    renamed = {name.replace("_norm.scale", "_norm.weight"): value for name, value in to_original("flux1", weights(models / "dev")).items()}
    save_file(renamed, note(models / "renamed.safetensors", base="dev"))
    assert identify(models / "renamed.safetensors").family == "flux1"
    assert is_equal(loaded(models / "renamed.safetensors"), weights(models / "dev"))


def test_sides_of_one_may_be_left_out_in_front(models: Path) -> None:
    """Programs that quantise write a row as a vector."""
    flat = {name: value[0] if name.endswith("pad_token") else value for name, value in to_original("zimage", weights(models / "zimage")).items()}
    assert flat["x_pad_token"].ndim == 1
    save_file(flat, note(models / "flat.safetensors", base="zimage"))
    assert is_equal(loaded(models / "flat.safetensors"), weights(models / "zimage"))


@pytest.mark.parametrize(
    ("name", "layer"),
    [("dev", "single_blocks.1.linear1.weight"), ("sd3", "joint_blocks.1.x_block.attn.qkv.bias"), ("zimage", "layers.1.attention.qkv.weight")],
)
def test_a_layer_that_is_missing_or_of_another_size_is_named_before_anything_is_read(models: Path, name: str, layer: str) -> None:
    original = to_original(MODELS[name][0], weights(models / name))
    file = models / f"{name}-odd.safetensors"
    for tensors, said in (
        ({one: value for one, value in original.items() if one != layer}, "it has no "),
        (original | {layer: torch.cat([original[layer]] * 2)}, " has another size"),
    ):
        save_file(tensors, note(file, base=name))
        with pytest.raises(DamagedFile) as caught:
            check_parts(read_single_file(file))
        assert said in caught.value.message
        assert caught.value.message.startswith(f"The denoiser in {file.name} does not go with the rest of {name}: ")


def test_a_tensor_that_no_layer_needs_changes_nothing(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files of Z-Image bring a norm that nothing uses; files of others bring what a program left there."""
    for name, more in (("zimage", "norm_final.weight"), ("dev", "left_by.something")):
        file = models / f"{name}-more.safetensors"
        save_file(to_original(MODELS[name][0], weights(models / name)) | {more: torch.ones(3)}, note(file, base=name))
        assert is_equal(loaded(file), weights(models / name))
        assert more in caplog.text
    # The same under diffusers' names.
    save_file(weights(models / "dev") | {"left_by.something": torch.ones(3)}, note(models / "diffusers.safetensors", base="dev"))
    assert is_equal(loaded(models / "diffusers.safetensors"), weights(models / "dev"))
