"""Control files of every layout are the same network; bad ones are one sentence, with the model bit for bit what it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.contract.errors import DamagedFile, EngineError, IncompatibleAdapter
from engine.diffusion.control_lora import CHANNELS_KEY, KIND, compress_control
from engine.diffusion.controlnet import ControlShelf, load_control
from engine.diffusion.loading import Components
from tests.diffusion.controls import HINTS, make_control, write_file, write_folder, write_original
from tests.diffusion.test_source_equality import load
from tests.diffusion.tiny import make_model


@pytest.fixture(scope="module")
def components(tmp_path_factory: pytest.TempPathFactory) -> Components:
    return load(make_model(tmp_path_factory.mktemp("models") / "four", in_channels=4))


@pytest.fixture(scope="module")
def net(components: Components) -> Any:
    return make_control(components.unet, seed=4)


@pytest.fixture(autouse=True)
def _untouched(components: Components) -> Iterator[None]:
    before = {name: value.clone() for name, value in components.unet.state_dict().items()}
    yield
    after = components.unet.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def answers(net: Any) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    sample, words, shown = (torch.randn(size, generator=rng) for size in ((2, 4, 8, 8), (2, 77, 256), (2, 3, 64, 64)))
    with torch.inference_mode():
        down, mid = net(sample, torch.tensor(500), encoder_hidden_states=words, controlnet_cond=shown, return_dict=False)
    return [*down, mid]


def low_rank(path: Path, net: Any, components: Components) -> Path:
    words = {"easel.kind": KIND, CHANNELS_KEY: ",".join(map(str, HINTS))}
    save_file(compress_control(net, components.unet, rank=4), path, metadata=words)
    return path


@pytest.mark.parametrize("layout", ["file", "folder", "original", "bare original", "half"])
def test_every_layout_is_the_same_network(components: Components, net: Any, tmp_path: Path, layout: str) -> None:
    path = tmp_path / "control.safetensors"
    match layout:
        case "folder":
            path = write_folder(tmp_path / "control", net)
        case "original":
            write_original(path, net)
        case "bare original":
            write_original(path, net)
            save_file({name.removeprefix("control_model."): value for name, value in load_file(path).items()}, path)
        case "half":
            save_file({name: value.half() for name, value in net.state_dict().items()}, path)
        case _:
            write_file(path, net)
    loaded = load_control(path, components.unet)
    tolerance = 2e-3 if layout == "half" else 1e-6
    assert all(torch.allclose(one, other, atol=tolerance) for one, other in zip(answers(loaded), answers(net), strict=True))
    assert not any(value.requires_grad for value in loaded.parameters())
    assert loaded.dtype == components.unet.dtype


def test_a_low_rank_file_is_the_model_s_own_encoder_and_a_difference(components: Components, tmp_path: Path) -> None:
    own = make_control(components.unet, seed=5)
    for name, value in components.unet.state_dict().items():
        if name in own.state_dict():
            own.state_dict()[name].copy_(value)
    loaded = load_control(low_rank(tmp_path / "low.safetensors", own, components), components.unet)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(answers(loaded), answers(own), strict=True))


def test_a_folder_of_an_inpainting_model_s_plain_sister_fits(tmp_path: Path, net: Any) -> None:
    nine = load(make_model(tmp_path / "nine", in_channels=9))
    assert load_control(write_folder(tmp_path / "control", net), nine.unet).config["in_channels"] == 4


def test_what_its_settings_say_counts(components: Components, tmp_path: Path) -> None:
    pooled = make_control(components.unet, seed=6, global_pool_conditions=True)
    assert load_control(write_folder(tmp_path / "any", pooled), components.unet).config["global_pool_conditions"] is True
    assert load_control(write_file(tmp_path / "sd15_shuffle.safetensors", pooled), components.unet).config["global_pool_conditions"] is True
    assert load_control(write_file(tmp_path / "sd15_canny.safetensors", pooled), components.unet).config["global_pool_conditions"] is False


Spoil = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
SPOILT: dict[str, tuple[Spoil, type[EngineError], str]] = {
    "not a number": (lambda s: {**s, "conv_in.bias": torch.full_like(s["conv_in.bias"], float("nan"))}, DamagedFile, "no numbers"),
    "one missing": (lambda s: {name: value for name, value in s.items() if name != "conv_in.bias"}, IncompatibleAdapter, "does not fit"),
    "one more": (lambda s: {**s, "extra.weight": torch.zeros(2)}, IncompatibleAdapter, "does not fit"),
    "no matching names": (lambda s: {f"x.{name}": value for name, value in s.items()}, IncompatibleAdapter, "does not fit"),
    "another size": (lambda s: {name: value[..., :3] if "attn2.to_k" in name else value for name, value in s.items()}, IncompatibleAdapter, "does not fit"),
    "no hint": (lambda s: {name: value for name, value in s.items() if "cond_embedding" not in name}, IncompatibleAdapter, "does not fit"),
}  # fmt: skip


@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_file_is_one_sentence(components: Components, net: Any, tmp_path: Path, what: str) -> None:
    spoil, kind, words = SPOILT[what]
    path = tmp_path / "spoilt.safetensors"
    save_file({name: value.contiguous() for name, value in spoil(dict(net.state_dict())).items()}, path)
    with pytest.raises(kind, match=words) as caught:
        load_control(path, components.unet)
    assert "spoilt" in caught.value.message
    assert caught.value.field == "controls"


@pytest.mark.parametrize("content", [b"", b"\x80\x04N.", b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense", None])
def test_no_safetensors_file_is_one_sentence(components: Components, net: Any, tmp_path: Path, content: bytes | None) -> None:
    path = write_file(tmp_path / "bad.safetensors", net)
    path.write_bytes(path.read_bytes()[:-7] if content is None else content)
    with pytest.raises(DamagedFile, match="bad is damaged or no safetensors file") as caught:
        load_control(path, components.unet)
    assert caught.value.field == "controls"


def test_the_shelf_keeps_the_newest_of_one_model(components: Components, net: Any, tmp_path: Path) -> None:
    shelf = ControlShelf(kept=2)
    paths = [write_file(tmp_path / f"{number}.safetensors", net) for number in range(3)]
    nets = [shelf.net(components, path, "h") for path in paths[:2]]
    assert shelf.net(components, paths[0], "h") is nets[0]
    shelf.net(components, paths[2], "h")
    assert [shelf.has(components, path, "h") for path in paths] == [True, False, True]
    assert not shelf.has(components, paths[0], "another hash")
