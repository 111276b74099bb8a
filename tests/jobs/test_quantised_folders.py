"""Folders that were quantised to 4 bits before they were saved, as many on the hub are: read code by code, on the CPU too; other ways are refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bitsandbytes.functional as functional
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine import DamagedFile, Engine, EngineError, Settings
from engine.diffusion.four_bits import FourBitLinear
from engine.diffusion.loading import load_components
from engine.weights import quantised
from tests.diffusion.families import make_family
from tests.pictures import distance, draw, read

SMALL = {"width": 64, "height": 64, "steps": 2}
NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": False}
# What is left whole, as those who quantise leave it.
_LEFT = ("proj_out", "lm_head", "shared", "embed", "relative_attention_bias", ".wo.")


def quantise(part: Path, *, is_nested: bool) -> dict[str, torch.Tensor]:
    """Write the part as bitsandbytes' users save it, and return the numbers that its codes stand for."""
    file = next(part.glob("*.safetensors"))
    stored: dict[str, torch.Tensor] = {}
    meant: dict[str, torch.Tensor] = {}
    for name, value in load_file(file).items():
        stored[name] = meant[name] = value
        if value.ndim != 2 or not name.endswith(".weight") or any(word in name for word in _LEFT):
            continue
        codes, state = functional.quantize_4bit(value, quant_type="nf4", compress_statistics=is_nested)
        scales = functional.dequantize_blockwise(state.absmax, state.state2) + state.offset if is_nested else state.absmax
        meant[name] = decoded(codes, scales, value.shape)
        stored[name] = codes
        stored |= {f"{name}.{key}": one.contiguous() for key, one in state.as_dict(packed=True).items()}
    save_file(stored, file, metadata={"format": "pt"})
    note(part, {**NF4, "bnb_4bit_use_double_quant": is_nested})
    return meant


def decoded(codes: torch.Tensor, scales: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """By hand: bitsandbytes' own product is wrong on a CPU where rows are no multiple of 64."""
    table, half = functional.get_4bit_type("nf4", device="cpu"), codes.flatten().long()
    numbers = table[torch.stack([half // 16, half % 16], 1)].flatten()
    blocks = torch.nn.functional.pad(numbers, (0, -len(numbers) % 64)).view(-1, 64) * scales.view(-1, 1)
    return blocks.flatten()[: shape.numel()].view(shape)


def note(part: Path, said: dict[str, Any] | None) -> None:
    settings = json.loads((part / "config.json").read_text())
    settings.pop("quantization_config", None)
    (part / "config.json").write_text(json.dumps(settings if said is None else {**settings, "quantization_config": said}))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    data: Path = tmp_path_factory.mktemp("data")
    make_family(data / "models" / "flux", "flux1")
    with Engine(Settings(data=data, worker="inline", dtype="float32", device="cpu")) as running:
        yield running


@pytest.mark.parametrize("is_nested", [False, True])
def test_a_folder_in_four_bits_draws_what_its_codes_stand_for(engine: Engine, is_nested: bool) -> None:
    models = engine.settings.data / "models"
    small, meant = models / f"small-{is_nested}", models / f"meant-{is_nested}"
    for folder in (small, meant):
        shutil.copytree(models / "flux", folder)
    for part in ("transformer", "text_encoder_2"):
        numbers = quantise(small / part, is_nested=is_nested)
        save_file(
            {name: value.contiguous() for name, value in numbers.items()}, next((meant / part).glob("*.safetensors")), metadata={"format": "pt"}
        )
    made, same, full = (read(draw(engine, "txt2img", model=name, **SMALL)[0]) for name in (small.name, meant.name, "flux"))
    away, cost = distance(made, same), distance(made, full)
    print(f"nested {is_nested}: {away:.4f} of 255 from what the codes stand for, {cost:.2f} from the model as trained")
    assert away < 0.05 < cost
    assert engine.model(small.name).refusal is None


def test_its_codes_come_through_unchanged_and_stay_small(engine: Engine, tmp_path: Path) -> None:
    folder = shutil.copytree(engine.settings.data / "models" / "flux", tmp_path / "flux")
    quantise(folder / "transformer", is_nested=False)
    stored = load_file(next((folder / "transformer").glob("*.safetensors")))
    network = load_components(folder, device=torch.device("cpu"), dtype=torch.bfloat16).network
    kept = {name: one for name, one in network.named_modules() if isinstance(one, FourBitLinear)}
    quantised_names = {name.removesuffix(".weight.absmax") for name in stored if name.endswith(".weight.absmax")}
    assert kept.keys() == {name for name in quantised_names if network.get_submodule(name).in_features % 64 == 0}
    assert len(kept) == 2
    for name, layer in kept.items():
        assert torch.equal(layer.codes, stored[f"{name}.weight"])
        assert torch.equal(layer.scales, stored[f"{name}.weight.absmax"])
    assert not any(value.is_meta for value in network.state_dict().values())


def test_a_plan_that_quantises_leaves_it_as_it_is(engine: Engine, tmp_path: Path) -> None:
    folder = shutil.copytree(engine.settings.data / "models" / "flux", tmp_path / "flux")
    quantise(folder / "transformer", is_nested=False)
    one, other = (load_components(folder, device=torch.device("cpu"), dtype=torch.float32, packing=packing).network for packing in (None, "int8"))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("name", ["nowhere.weight", "transformer_blocks.0.nowhere.bias", "x_embedder.nowhere"])
def test_a_tensor_without_a_place_is_a_sentence(engine: Engine, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(engine.settings.data / "models" / "flux", tmp_path / "flux")
    quantise(folder / "transformer", is_nested=False)
    file = next((folder / "transformer").glob("*.safetensors"))
    save_file({**load_file(file), name: torch.ones(3)}, file, metadata={"format": "pt"})
    with pytest.raises(DamagedFile, match="The transformer of flux cannot be loaded"):
        load_components(folder, device=torch.device("cpu"), dtype=torch.float32)


WAYS: dict[str, tuple[dict[str, Any], str]] = {
    "8 bits": ({"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}, "(bitsandbytes 8-bit)"),
    "fp4": ({**NF4, "bnb_4bit_quant_type": "fp4"}, "(bitsandbytes 4-bit fp4)"),
    "torchao": ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, "(torchao)"),
    "nonsense": ({"quant_method": ["a"] * 99}, "is quantised in a way that Easel does not read"),
}


@pytest.mark.parametrize("way", WAYS)
def test_another_way_is_refused_by_name_before_anything_is_read(engine: Engine, way: str) -> None:
    said, words = WAYS[way]
    folder = shutil.copytree(engine.settings.data / "models" / "flux", engine.settings.data / "models" / f"other-{way.replace(' ', '-')}")
    note(folder / "transformer", said)
    refusal = next(card.refusal for card in engine.models() if card.name == folder.name)
    assert refusal is not None
    assert words in refusal
    assert "Get the model whole, and let Easel quantise it under Models" in refusal
    with pytest.raises(EngineError):
        draw(engine, "txt2img", model=folder.name, **SMALL)


def test_without_the_package_it_says_how_to_get_it(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(engine.settings.data / "models" / "flux", tmp_path / "flux")
    note(folder / "transformer", NF4)
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    problem = quantised.quantised_problem(folder / "transformer")
    assert problem is not None
    assert problem[1] == "Whoever runs this studio can add it: pip install -r requirements-nf4.txt."
