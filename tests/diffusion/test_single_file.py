"""One file in the layout of the first release is the same model as its folder: part by part, to the bit, without a network."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from engine import DamagedFile, TextToImage
from engine.contract.recipe import resolve
from engine.diffusion.latents import decode
from engine.diffusion.loading import Components, check_model, load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.single_file import clip_tokenizer
from engine.diffusion.text import PromptEncoder
from engine.library.catalogue import read_card
from engine.weights.byte_pairs import clip_pairs
from engine.weights.single_files import read_single_file
from tests.diffusion.originals import make_pair, to_original

CPU = torch.device("cpu")
FAMILIES = ("sd1", "sd2", "sdxl")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("models")
    return {family: make_pair(folder, family) for family in FAMILIES}


def load(path: Path) -> Components:
    return load_components(path, device=CPU, dtype=torch.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_part_is_that_of_the_folder(pairs: dict[str, tuple[Path, Path]], family: str) -> None:
    folder, file = (load(path) for path in pairs[family])
    assert file.family.key == folder.family.key == ("sdxl" if family == "sdxl" else "sd1")
    assert set(file.parts) == set(folder.parts)
    for name, part in file.parts.items():
        if "tokenizer" in name:
            continue
        theirs = folder.parts[name]
        assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in part.state_dict().items()), name
        assert part.state_dict().keys() == theirs.state_dict().keys()
        assert not part.training
        ours, said = _settings(part), _settings(theirs)
        assert {key: ours[key] for key in ours if ours[key] != said.get(key)} == {}, name
    assert file.scheduler_config == folder.scheduler_config
    assert type(file.voice) is type(folder.voice)


def _settings(part: Any) -> dict[str, Any]:
    """What a module was made with, without notes about where and how it was saved, and with lists for what may be either."""
    notes = ("_", "transformers_version", "dtype", "torch_dtype", "architectures", "model_type")
    found = dict(part.config) if hasattr(part.config, "items") else part.config.to_dict()
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in found.items() if not name.startswith(notes)}
    layers = settings.get("transformer_layers_per_block")
    if isinstance(layers, int):
        settings["transformer_layers_per_block"] = [layers] * len(settings["block_out_channels"])
    return settings


@pytest.mark.parametrize("family", FAMILIES)
def test_the_picture_is_that_of_the_folder(pairs: dict[str, tuple[Path, Path]], family: str) -> None:
    values = {"prompt": "a (red:1.2) castle", "negative_prompt": "blurry", "width": 64, "height": 96, "steps": 4, "seed": 3}
    drawn: list[torch.Tensor] = []
    for path in pairs[family]:
        components, recipe = load(path), resolve(TextToImage.model_validate(values), read_card(path))
        *_, last = text_to_image(components, PromptEncoder(components), recipe)
        with torch.inference_mode():
            drawn.append((decode(components, last.latents)[0] / 2 + 0.5).clamp(0, 1))
    worst = float((drawn[0] - drawn[1]).abs().max())
    print(f"{family}: largest difference {worst:.1e} of pixels in 0 to 1")
    assert worst <= 1e-6


def test_the_tokenizer_is_clips() -> None:
    """Ids as OpenAI published them for their example, and the two ways to fill up."""
    assert len(clip_pairs()[0]) == 49408
    tokenizer = clip_tokenizer(is_open=False)
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert (tokenizer.model_max_length, tokenizer.pad_token_id, clip_tokenizer(is_open=True).pad_token_id) == (77, 49407, 0)


def test_the_tokenizer_is_the_same_after_a_round_over_the_disk(tmp_path: Path) -> None:
    clip_tokenizer(is_open=False).save_pretrained(tmp_path)
    again: Any = CLIPTokenizer.from_pretrained(tmp_path)
    for text in ("A (red:1.2) castle, at sunset!", "naïve straße 日本 don't 1234", ""):
        assert again(text).input_ids == clip_tokenizer(is_open=False)(text).input_ids


@pytest.mark.parametrize(("family", "channels"), [("sd1", 9), ("sd2", 9), ("sdxl", 9)])
def test_an_inpainting_checkpoint_is_known_by_its_channels(tmp_path: Path, family: str, channels: int) -> None:
    file = load(make_pair(tmp_path, family, in_channels=channels)[1])
    assert file.is_inpainting


def test_a_checkpoint_that_predicts_v_says_so_by_a_tensor(tmp_path: Path) -> None:
    folder, _ = make_pair(tmp_path, "sdxl")
    plain = to_original(folder, tmp_path / "v.safetensors", "sdxl", {"v_pred": torch.tensor([])})
    zero = to_original(folder, tmp_path / "zero.safetensors", "sdxl", {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])})
    scheduler = load(plain).scheduler_config
    assert (scheduler["prediction_type"], scheduler.get("rescale_betas_zero_snr")) == ("v_prediction", None)
    scheduler = load(zero).scheduler_config
    assert (scheduler["prediction_type"], scheduler["rescale_betas_zero_snr"], scheduler["timestep_spacing"]) == ("v_prediction", True, "trailing")


BIAS = "model.diffusion_model.output_blocks.3.1.transformer_blocks.0.norm1.bias"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("spread", "channels", "predicts"), [(0.15, 4, "v_prediction"), (0.03, 4, "epsilon"), (0.15, 9, "epsilon")])
def test_what_stable_diffusion_2_predicts_is_read_from_one_of_its_layers(
    tmp_path: Path, spread: float, channels: int, predicts: str, dtype: torch.dtype
) -> None:
    tensors = load_file(make_pair(tmp_path, "sd2", in_channels=channels)[1])
    assert BIAS in tensors
    tensors[BIAS] = torch.linspace(-1, 1, len(tensors[BIAS])) * spread * 3**0.5
    save_file({name: value.to(dtype) for name, value in tensors.items()}, tmp_path / "two.safetensors")
    file = read_single_file(tmp_path / "two.safetensors")
    card = read_card(tmp_path / "two.safetensors")
    assert file.settings["scheduler"]["prediction_type"] == predicts
    assert card.default_size == ((768, 768) if predicts == "v_prediction" else (512, 512))
    assert (card.family, card.refusal) == ("sd1", None)
    if channels == 4:
        other = "epsilon" if predicts == "v_prediction" else "v"
        assert f'write {{"predicts": "{other}"}} into two.json beside it.' in card.what
        (tmp_path / "two.json").write_text(f'{{"predicts": "{other}"}}')
        assert read_single_file(tmp_path / "two.safetensors").settings["scheduler"]["prediction_type"] != predicts
        # Other pictures have another recipe.
        assert read_card(tmp_path / "two.safetensors").content_hash != card.content_hash
        (tmp_path / "two.json").write_text('{"predicts": ["x"]}')
        assert 'Write "v" or "epsilon" there.' in (read_card(tmp_path / "two.safetensors").refusal or "")


def test_other_types_and_averages_are_read_too(tmp_path: Path) -> None:
    """A file in half precision, with the running averages of its training and its positions beside the weights."""
    folder, file = make_pair(tmp_path, "sd1")
    half = {name: value.half() for name, value in load_file(file).items()}
    half |= {f"model_ema.{name.replace('.', '')}": value.clone() for name, value in list(half.items()) if name.startswith("model.diffusion_model.")}
    half["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    half["alphas_cumprod"] = torch.ones(1000)
    save_file(half, tmp_path / "half.safetensors")
    found, wanted = load(tmp_path / "half.safetensors"), load(folder)
    for part in ("unet", "vae", "text_encoder"):
        for name, value in found.parts[part].state_dict().items():
            assert value.dtype is torch.float32
            assert torch.equal(value, wanted.parts[part].state_dict()[name].half().float())


DAMAGE: dict[str, tuple[Any, str]] = {
    "a layer of the denoiser": (lambda names: next(n for n in names if "middle_block.1.transformer_blocks.0.attn1.to_q" in n), "The unet in"),
    "a layer of the VAE": (lambda names: "first_stage_model.decoder.mid.block_1.conv1.weight", "The VAE in"),
    "a layer of the text encoder": (lambda names: "cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc2.bias", "The text encoder in"),
    "a block": (lambda names: "model.diffusion_model.input_blocks.1.0.out_layers.3.weight", "layers of its denoiser are missing"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_missing_layer_is_named_before_anything_is_read(pairs: dict[str, tuple[Path, Path]], tmp_path: Path, what: str) -> None:
    choose, said = DAMAGE[what]
    tensors = load_file(pairs["sd1"][1])
    del tensors[choose(tensors)]
    save_file(tensors, tmp_path / "holed.safetensors")
    begin = time.process_time()
    with pytest.raises(DamagedFile, match=said) as caught:
        check_model(tmp_path / "holed.safetensors")
    assert time.process_time() - begin < 1
    assert caught.value.hint == "Copy or download the file again." or caught.value.hint == "Copy or download it again."


def test_no_line_is_opened(pairs: dict[str, tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a line was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for family in FAMILIES:
        assert PromptEncoder(load(pairs[family][1])).encode("a red castle", None).shape[1] == 77


def test_settings_are_read_from_shapes_alone(pairs: dict[str, tuple[Path, Path]]) -> None:
    found = read_single_file(pairs["sdxl"][1])
    assert set(found.inside) == {"unet", "vae", "text_encoder", "text_encoder_2"}
    assert (found.family, found.base, found.wants_vae) == ("sdxl", None, False)
    assert found.settings["unet"]["cross_attention_dim"] == 96
    assert found.settings["vae"]["scaling_factor"] == 0.13025
