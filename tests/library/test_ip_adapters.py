"""The shelf of reference adapters: judged by their headers, chosen for a model, refused by name."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load, save_file

from engine.contract.errors import EngineError, IncompatibleAdapter, ModelNotFound
from engine.contract.references import ReferenceUse
from engine.library.catalogue import attention_widths, read_card
from engine.library.ip_adapters import IpAdapters
from tests.conftest import STARTER
from tests.diffusion.ip_adapters import EMBEDDING, PATCHES, make_adapter, write_adapter, write_encoder
from tests.diffusion.tiny import make_model

MODEL = read_card(STARTER)
USE = ReferenceUse(image="a" * 64)


@pytest.fixture
def shelf(tmp_path: Path) -> IpAdapters:
    write_encoder(tmp_path / "image_encoders" / "tower")
    return IpAdapters([tmp_path / "ip_adapters"], [tmp_path / "image_encoders"])


def put(folder: Path, name: str, kind: str = "linear", notes: dict[str, str] | None = None, **sizes: int) -> Path:
    return write_adapter(folder / "ip_adapters" / f"{name}.safetensors", make_adapter(MODEL, kind, **sizes), notes)


def resolved(shelf: IpAdapters, **fields: Any) -> ReferenceUse:
    return shelf.resolve([USE.model_copy(update=fields)], MODEL, STARTER)[0]


def refusal(shelf: IpAdapters, kind: type[EngineError], **fields: Any) -> str:
    with pytest.raises(kind) as caught:
        resolved(shelf, **fields)
    assert caught.value.field == "references"
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("folder", [STARTER, None])
def test_the_layers_of_a_model_are_counted_as_diffusers_does(folder: Path | None, tmp_path: Path) -> None:
    folder = folder or make_model(tmp_path / "tiny", in_channels=4)
    config: Any = UNet2DConditionModel.load_config(folder / "unet")
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(config)
    layers = [unet.get_submodule(name.removesuffix(".processor")) for name in unet.attn_processors if name.endswith("attn2.processor")]
    assert attention_widths(folder) == tuple(layer.inner_kv_dim for layer in layers)


def test_attention_widths_of_real_models(tmp_path: Path) -> None:
    """Stable Diffusion 1 and SDXL, whose published adapters have 16 and 70 layers."""
    (tmp_path / "unet").mkdir()
    config = '{"block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2, "mid_block_type": "UNetMidBlock2DCrossAttn", "down_block_types": '
    config += '["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": '
    config += '["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]}'
    (tmp_path / "unet" / "config.json").write_text(config)
    widths = attention_widths(tmp_path)
    assert len(widths) == 16
    assert widths == (320, 320, 640, 640, 1280, 1280, 1280, 1280, 1280, 640, 640, 640, 320, 320, 320, 1280)
    config = '{"block_out_channels": [320, 640, 1280], "layers_per_block": 2, "transformer_layers_per_block": [1, 2, 10], "down_block_types": '
    config += '["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": '
    config += '["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]}'
    (tmp_path / "unet" / "config.json").write_text(config)
    assert len(attention_widths(tmp_path)) == 70


@pytest.mark.parametrize(("kind", "tokens", "reads"), [("linear", 4, EMBEDDING), ("plus", 6, PATCHES), ("full", 257, PATCHES)])
def test_a_card_says_what_an_adapter_is(shelf: IpAdapters, tmp_path: Path, kind: str, tokens: int, reads: int) -> None:
    put(tmp_path, "mine", kind, {"title": "Mine", "licence": "CC0"})
    (card,) = shelf.cards()
    assert (card.name, card.title, card.licence, card.made_for, card.refusal) == ("mine", "Mine", "CC0", "the starter", None)
    assert (card.projection, card.tokens, card.image_width, card.width, card.layers) == (kind, tokens, reads, 256, MODEL.attention_widths)
    use = resolved(shelf)
    assert (use.adapter, use.hash, use.image_encoder, len(use.image_encoder_hash or "")) == ("mine", card.content_hash, "tower", 64)
    assert shelf.path("mine").name == "mine.safetensors"
    assert shelf.encoder("tower", STARTER) == tmp_path / "image_encoders" / "tower"


def test_left_open_it_is_the_models_own_then_the_first_that_fits(shelf: IpAdapters, tmp_path: Path) -> None:
    assert refusal(shelf, ModelNotFound) == f"{MODEL.title} brings no reference adapter."
    write_adapter(tmp_path / "ip_adapters" / "a.safetensors", {"image_proj": {"x": torch.zeros(1)}, "ip_adapter": {"x": torch.zeros(1)}})
    for name in ("b", "c"):
        put(tmp_path, name)
    assert resolved(shelf).adapter == "b"
    put(tmp_path, MODEL.name)
    assert resolved(shelf).adapter == MODEL.name
    assert resolved(shelf, adapter="c").adapter == "c"


def test_the_encoder_is_the_models_own_where_it_fits_or_the_one_that_a_file_names(shelf: IpAdapters, tmp_path: Path) -> None:
    model = tmp_path / "model"
    write_encoder(model / "image_encoder")
    put(tmp_path, "mine")
    use = shelf.resolve([USE], MODEL, model)[0]
    assert (use.image_encoder, use.image_encoder_hash) == ("model", None)
    assert shelf.encoder("model", model) == model / "image_encoder"
    assert shelf.resolve([USE.model_copy(update={"image_encoder": "tower"})], MODEL, model)[0].image_encoder == "tower"
    write_encoder(tmp_path / "image_encoders" / "another")
    put(tmp_path, "mine", notes={"image_encoder": "tower"})
    assert shelf.resolve([USE], MODEL, STARTER)[0].image_encoder == "tower"


def test_an_encoder_of_another_width_is_not_taken(shelf: IpAdapters, tmp_path: Path) -> None:
    put(tmp_path, "mine", embedding=40)
    assert refusal(shelf, ModelNotFound).startswith("The reference adapter mine needs an image encoder that gives 40 numbers, which ")
    assert refusal(shelf, ModelNotFound, image_encoder="nothing").endswith(", and there is none named nothing here.")
    with pytest.raises(ModelNotFound):
        shelf.encoder("..", STARTER)


def _odd(folder: Path, kind: str) -> None:
    path = put(folder, kind)
    state = load(path.read_bytes())
    match kind:
        case "truncated":
            path.write_bytes(path.read_bytes()[:-200])
        case "pickled":
            torch.save(state, path)
        case "pickle":
            path.unlink()
            path.with_suffix(".bin").write_bytes(pickle.dumps({"image_proj": {}}))
        case "lora":
            save_file({"unet.x.lora_A.weight": torch.zeros(2, 2)}, path)
        case "faceid":
            state = {key: value for key, value in state.items() if key != "image_proj.proj.weight"}
            save_file({**state, "image_proj.proj.0.weight": torch.zeros(4, 4)}, path)
        case "faces":
            save_file({**state, "ip_adapter.0.to_k_lora.down.weight": torch.zeros(4, 4)}, path)
        case "missing-layer":
            save_file({key: value for key, value in state.items() if not key.startswith("ip_adapter.3.")}, path)
        case "missing-half":
            save_file({key: value for key, value in state.items() if "1.to_v_ip" not in key}, path)
        case "missing-projection":
            save_file({key: value for key, value in state.items() if "proj.bias" not in key}, path)
        case "two-halves":
            save_file({key: value[:, :128].contiguous() if "_ip." in key else value for key, value in state.items()}, path)
        case "other-family":
            write_adapter(path, make_adapter(MODEL.model_copy(update={"text_width": 2048})))
        case _:
            write_adapter(path, make_adapter(MODEL.model_copy(update={"attention_widths": MODEL.attention_widths[:-1]})))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("truncated", "cannot be used: its file is damaged or no safetensors file."),
        ("pickled", "cannot be used: its file is damaged or no safetensors file."),
        ("pickle", "cannot be used: its file is a pickle, which can run programs; convert it to safetensors."),
        ("lora", "cannot be used: it holds no IP-Adapter, or not all of its layers."),
        ("faceid", "cannot be used: it needs a face recogniser (FaceID), which Easel does not have."),
        ("faces", "cannot be used: it needs a face recogniser (FaceID), which Easel does not have."),
        ("missing-layer", "cannot be used: it holds no IP-Adapter, or not all of its layers."),
        ("missing-half", "cannot be used: it holds no IP-Adapter, or not all of its layers."),
        ("missing-projection", "cannot be used: a part of its projection is missing."),
        ("two-halves", "cannot be used: its two halves do not belong together."),
        ("other-family", f"was made for SDXL, not for {MODEL.title}."),
        ("other-shape", f"was not made for {MODEL.title}."),
    ],
)
def test_what_does_not_fit_is_refused_by_name(shelf: IpAdapters, tmp_path: Path, kind: str, words: str) -> None:
    _odd(tmp_path, kind)
    assert refusal(shelf, IncompatibleAdapter, adapter=kind) == f"The reference adapter {kind} {words}"
    # It is never taken by itself.
    refusal(shelf, ModelNotFound)


@pytest.mark.parametrize("name", ["nothing", "..", "MINE"])
def test_names_are_compared_and_never_become_paths(shelf: IpAdapters, tmp_path: Path, name: str) -> None:
    put(tmp_path, "mine")
    with pytest.raises(ModelNotFound):
        shelf.path(name)
