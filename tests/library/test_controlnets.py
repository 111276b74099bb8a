"""Control models on the shelf: recognised by names and shapes, refused in words, never loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from engine.contract.errors import EngineError, IncompatibleAdapter, ModelNotFound
from engine.contract.models import ModelCard
from engine.library.catalogue import BUNDLED, Catalogue
from engine.library.controlnets import ControlNets, read_card

STARTER_RESIDUALS = (64, 64, 64, 128, 128, 192, 192, 160)
SD1_RESIDUALS = (320, 320, 320, 320, 640, 640, 640, 1280, 1280, 1280, 1280, 1280)


def tensors(width: int, residuals: tuple[int, ...], *, original: bool = False) -> dict[str, np.ndarray]:
    """The few tensors that tell, with one number where a real file has millions."""
    if original:
        made = {f"control_model.zero_convs.{number}.0.weight": np.zeros((channel, 1), np.float16) for number, channel in enumerate(residuals)}
        return {**made, "control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": np.zeros((1, width), np.float16)}
    made = {f"controlnet_down_blocks.{number}.weight": np.zeros((channel, 1), np.float16) for number, channel in enumerate(residuals)}
    made["controlnet_cond_embedding.conv_in.weight"] = np.zeros((16, 3, 3, 3), np.float16)
    return {**made, "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": np.zeros((1, width), np.float16)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def model() -> ModelCard:
    return Catalogue((BUNDLED,)).card("starter")


def test_the_starter_says_what_its_encoder_passes_on(model: ModelCard) -> None:
    assert model.residuals == STARTER_RESIDUALS


@pytest.mark.parametrize("original", [False, True])
@pytest.mark.parametrize(("width", "family"), [(768, "Stable Diffusion 1"), (1024, "Stable Diffusion 2"), (2048, "SDXL"), (256, "the starter")])
def test_families_are_told_by_their_width(root: Path, width: int, family: str, original: bool) -> None:
    path = root / "control_v11f1p_sd15_depth.safetensors"
    save_file(tensors(width, SD1_RESIDUALS, original=original), path)
    card = read_card(path)
    assert (card.width, card.family, card.residuals, card.problem) == (width, family, SD1_RESIDUALS, None)
    assert (card.kind, card.preprocessor) == ("depth", "depth_anything")


def test_the_words_in_the_header_count_more_than_the_name(root: Path) -> None:
    path = root / "starter-depth.safetensors"
    words = {"easel.kind": "control-lora", "easel.title": "Starter edges", "easel.preprocessor": "canny", "easel.licence": "Apache-2.0"}
    made = {**tensors(256, STARTER_RESIDUALS), "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.down": np.zeros((4, 256), np.float16)}
    del made["down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"]
    save_file(made, path, metadata=words)
    card = read_card(path)
    assert (card.title, card.kind, card.preprocessor, card.licence, card.width) == ("Starter edges", "edges", "canny", "Apache-2.0", 256)


def test_a_folder_is_one_control(root: Path) -> None:
    folder = root / "sd15-canny"
    folder.mkdir()
    save_file(tensors(768, SD1_RESIDUALS), folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(json.dumps({"_class_name": "ControlNetModel"}))
    first = ControlNets((root,)).cards()[0]
    assert (first.name, first.preprocessor, first.problem) == ("sd15-canny", "canny", None)
    (folder / "config.json").write_text(json.dumps({"_class_name": "FluxControlNetModel"}))
    second = ControlNets((root,)).cards()[0]
    assert second.problem == "it is a FluxControlNetModel, not a ControlNetModel."
    assert second.content_hash != first.content_hash


BAD = {
    "pickle-inside.safetensors": (b"\x80\x04\x95\x0e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix", "no safetensors file"),
    "empty.safetensors": (b"", "no safetensors file"),
    "old.pth": (b"\x80\x04N.", "pickle"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_safetensors_file_says_so(root: Path, name: str, model: ModelCard) -> None:
    content, words = BAD[name]
    (root / name).write_bytes(content)
    shelf = ControlNets((root,))
    assert words in (shelf.cards()[0].problem or "")
    with pytest.raises(IncompatibleAdapter, match="cannot be used") as caught:
        shelf.pick(Path(name).stem, "canny", model)
    assert caught.value.field == "controls"


@pytest.mark.parametrize("cut", [1, 100])
def test_one_that_is_cut_short_says_so(root: Path, cut: int) -> None:
    path = root / "short.safetensors"
    save_file(tensors(768, SD1_RESIDUALS), path)
    path.write_bytes(path.read_bytes()[:-cut])
    assert "cut short" in (read_card(path).problem or "")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("lora_unet_down_blocks_0.lora_down.weight", "LoRA"), ("lora_controlnet", "Control-LoRA"), ("adapter.body.0.weight", "T2I"),
        ("double_blocks.0.img_attn.qkv.weight", "FLUX"), ("lllite_unet_input_blocks.weight", "LLLite"), ("layer.weight", "no ControlNet"),
    ],
)  # fmt: skip
def test_other_things_are_refused_by_name(root: Path, key: str, words: str) -> None:
    save_file({key: np.zeros((2, 2), np.float16)}, root / "thing.safetensors")
    assert words in (read_card(root / "thing.safetensors").problem or "")


def test_one_for_another_model_is_refused_by_name(root: Path, model: ModelCard) -> None:
    save_file(tensors(768, SD1_RESIDUALS), root / "sd15-canny.safetensors")
    save_file(tensors(256, (32, 32, 64)), root / "small-canny.safetensors")
    shelf = ControlNets((root,))
    with pytest.raises(IncompatibleAdapter, match="sd15-canny was made for Stable Diffusion 1, not for Easel starter"):
        shelf.pick("sd15-canny", "canny", model)
    with pytest.raises(IncompatibleAdapter, match="small-canny was made for another model than Easel starter"):
        shelf.pick("small-canny", "canny", model)
    with pytest.raises(ModelNotFound):
        shelf.pick("Sd15-Canny", "canny", model)


def test_the_usual_control_of_a_preprocessor_is_found(root: Path, model: ModelCard) -> None:
    shelf = ControlNets((root,))
    with pytest.raises(EngineError, match="none here is known to read what Canny edges makes"):
        shelf.pick(None, "canny", model)
    for name in ("sd15-canny", "my-depth", "my-edges"):
        save_file(
            tensors(768 if name.startswith("sd15") else 256, SD1_RESIDUALS if name.startswith("sd15") else STARTER_RESIDUALS),
            root / f"{name}.safetensors",
        )
    assert shelf.pick(None, "canny", model).name == "my-edges"
    assert shelf.pick(None, "lineart_standard", model).name == "my-edges"
    assert shelf.pick(None, "midas", model).name == "my-depth"
    with pytest.raises(EngineError, match="a finished map"):
        shelf.pick(None, "none", model)
