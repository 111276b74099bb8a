"""A transformer in one file, as .safetensors or .gguf, draws with the text encoders and the VAE of a folder of its family."""

from __future__ import annotations

import shutil
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine import DamagedFile, Engine, EngineError, Settings, parse_request
from engine.diffusion.loading import load_components
from engine.library.identify import identify
from engine.library.metadata import read_recipe
from engine.weights.gguf_header import judge_gguf
from engine.weights.headers import read_vector
from tests.conftest import OWNER
from tests.diffusion.families import make_family
from tests.diffusion.loras import matrices
from tests.pictures import bring, distance, draw, is_same, read, scene

SMALL = {"width": 64, "height": 64, "steps": 2}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next((folder / "transformer").glob("*.safetensors")))


def write_gguf(path: Path, tensors: dict[str, torch.Tensor], kind: str) -> Path:
    """Matrices whose rows are whole blocks in `kind`, the rest in 32 bit, as the converters in the world do it."""
    import gguf

    writer: Any = gguf.GGUFWriter(path, "flux")
    number = gguf.GGMLQuantizationType[kind]
    for name, tensor in tensors.items():
        values = tensor.float().numpy()
        if kind == "F16":
            writer.add_tensor(name, values.astype(np.float16))
        elif values.ndim == 2 and values.shape[1] % 32 == 0:
            writer.add_tensor(name, gguf.quants.quantize(values, number), raw_dtype=number)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    data: Path = tmp_path_factory.mktemp("data")
    models = data / "models"
    for family in ("flux1", "qwen", "zimage"):
        make_family(models / family, family)
        save_file(weights(models / family), models / f"{family}.safetensors")
    save_file({f"model.diffusion_model.{name}": value for name, value in weights(models / "flux1").items()}, models / "prefixed.safetensors")
    with Engine(Settings(data=data, worker="inline", dtype="float32", device="cpu")) as running:
        yield running


@pytest.fixture(scope="module")
def ggufs(engine: Engine) -> None:
    """Two of them beside the folder; the package that writes them is in requirements-dev.txt."""
    models = engine.settings.data / "models"
    write_gguf(models / "half.gguf", {name: value.half().float() for name, value in weights(models / "flux1").items()}, "F16")
    write_gguf(models / "eight.gguf", weights(models / "flux1"), "Q8_0")


@pytest.mark.parametrize("family", ["flux1", "qwen", "zimage"])
def test_a_denoiser_alone_draws_what_its_folder_draws(engine: Engine, family: str) -> None:
    card = engine.model(f"{family}.safetensors")
    folder = engine.model(family)
    assert (card.family, card.guidance, card.default_steps, card.refusal) == (folder.family, folder.guidance, folder.default_steps, None)
    assert card.content_hash not in ("", folder.content_hash)
    assert engine.words("a red castle", card.name) == engine.words("a red castle", family)
    source = bring(engine, scene(64, 64))
    for mode, more in {"txt2img": {}, "img2img": {"source": source, "strength": 0.6}}.items():
        file, whole = (draw(engine, mode, model=name, **{**SMALL, **more})[0] for name in (card.name, family))
        assert is_same(read(file), read(whole)), mode
        assert read_recipe(file.path).model_hash == engine.model(card.name).content_hash


def test_a_prefix_before_its_names_changes_nothing(engine: Engine) -> None:
    assert is_same(*(read(draw(engine, "txt2img", model=name, **SMALL)[0]) for name in ("prefixed.safetensors", "flux1")))


@pytest.mark.usefixtures("ggufs")
@pytest.mark.parametrize(("name", "bound"), [("half.gguf", 0.2), ("eight.gguf", 3.0)])
def test_a_gguf_draws_nearly_the_same(engine: Engine, name: str, bound: float) -> None:
    plain = read(draw(engine, "txt2img", model="flux1", **SMALL)[0])
    made = draw(engine, "txt2img", model=name, **SMALL)[0]
    away = distance(read(made), plain)
    print(f"{name}: {away:.4f} of 255 from the picture in 32 bit")
    assert away <= bound
    assert (made.recipe.model, made.recipe.guidance_kind) == (name, "told")
    assert identify(engine.settings.data / "models" / name).text.endswith("of FLUX.1 dev, in the diffusers layout.")


@pytest.mark.usefixtures("ggufs")
def test_a_quantised_file_keeps_its_numbers_small(engine: Engine) -> None:
    draw(engine, "txt2img", model="eight.gguf", **SMALL)
    network = next(reversed(engine._hosts[0]._painter._models.values())).network  # type: ignore[attr-defined]
    kinds = {value.dtype for value in network.state_dict().values()}
    assert torch.uint8 in kinds


EIGHT = torch.float8_e4m3fn


def in_eight_bits(tensors: dict[str, torch.Tensor], way: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Matrices as files of 8 bits have them, in one of the ways that are about, and what those stand for."""
    stored: dict[str, torch.Tensor] = {"scaled_fp8": torch.zeros(2, dtype=EIGHT)} if way == "scale_weight" else {}
    meant: dict[str, torch.Tensor] = {}
    for name, value in tensors.items():
        stored[name] = meant[name] = value
        if value.ndim != 2 or not name.endswith(".weight"):
            continue
        layer = name.removesuffix(".weight")
        scale = {
            "plain": torch.ones(()),
            "scale_weight": value.abs().max() / 448,
            "weight_scale": (value.abs().max() / 448).view(1),
            "by-rows": value.abs().amax(1, keepdim=True) / 448,
        }[way]
        stored[name] = (value / scale).to(EIGHT)
        meant[name] = stored[name].float() * scale
        if way == "scale_weight":
            stored |= {f"{layer}.scale_weight": scale, f"{layer}.scale_input": torch.ones(())}
        elif way != "plain":
            stored |= {f"{layer}.weight_scale": scale, f"{layer}.comfy_quant": torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)}
    return stored, meant


@pytest.mark.parametrize("way", ["plain", "scale_weight", "weight_scale", "by-rows"])
@pytest.mark.parametrize("family", ["flux1", "zimage"])
def test_a_file_in_eight_bits_is_read_with_its_scales(engine: Engine, family: str, way: str) -> None:
    models = engine.settings.data / "models"
    stored, meant = in_eight_bits(weights(models / family), way)
    # A name for each: what a name stood for is remembered as long as the model is in memory.
    names = [f"{family}-{way}-{what}.safetensors" for what in ("stored", "meant")]
    for name, tensors in zip(names, (stored, meant), strict=True):
        save_file(tensors, models / name)
        (models / name).with_suffix(".json").write_text(f'{{"base": "{family}"}}')
    eight, same, full = (read(draw(engine, "txt2img", model=name, **SMALL)[0]) for name in (*names, family))
    assert is_same(eight, same)
    print(f"{family}, {way}: {distance(eight, full):.3f} of 255 from the picture in 32 bit")
    assert 0 < distance(eight, full) < 12


def block_scales(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    name = next(name for name, value in tensors.items() if name.endswith(".weight") and value.ndim == 2)
    rows, columns = tensors[name].shape
    packed = {
        name: torch.zeros(rows, columns // 2, dtype=torch.uint8),
        f"{name}_scale": torch.ones(rows, columns // 16),
        f"{name}_scale_2": torch.ones(()),
    }
    return tensors | packed


def eight_bit_blocks(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    name = next(name for name, value in tensors.items() if name.endswith(".weight") and value.ndim == 2)
    rows, columns = tensors[name].shape
    return tensors | {name: tensors[name].to(EIGHT), f"{name}_scale": torch.ones(rows, columns // 32)}


def whole_numbers(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    name = next(name for name, value in tensors.items() if name.endswith(".weight") and value.ndim == 2)
    return tensors | {name: tensors[name].to(torch.int8), f"{name}_scale": torch.ones(())}


@pytest.mark.parametrize("packed", [block_scales, eight_bit_blocks, whole_numbers])
def test_numbers_packed_otherwise_are_refused_by_the_header(
    engine: Engine, packed: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    models = engine.settings.data / "models"
    path = models / "packed.safetensors"
    save_file({name: value.contiguous() for name, value in packed(weights(models / "flux1")).items()}, path)
    try:
        begin = time.process_time()
        card = next(card for card in engine.models() if card.name == path.name)
        assert card.refusal is not None
        assert "its numbers are packed in a way that Easel does not read" in str(card.refusal)
        with pytest.raises(EngineError, match="Get it in bf16, in fp8, or as a"):
            draw(engine, "txt2img", model=path.name, **SMALL)
        assert time.process_time() - begin < 1
    finally:
        path.unlink()


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_every_number_in_eight_bits_is_read_as_torch_reads_it(tmp_path: Path, kind: torch.dtype) -> None:
    every = torch.arange(256, dtype=torch.uint8).view(kind)
    save_file({"one": every}, tmp_path / "all.safetensors")
    assert np.array_equal(read_vector(tmp_path / "all.safetensors", "one"), every.float().numpy(), equal_nan=True)


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 64)


def long_header(path: Path) -> None:
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", 60 * 2**20) + b"x" * 1000)


def odd_type(path: Path) -> None:
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q", 1) + b"x" + struct.pack("<IQIQ", 1, 32, 29, 0))


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut short": (cut, "it is cut short"),
    "60 MB of header": (long_header, "its header has an impossible length"),
    "no GGUF": (lambda path: path.write_bytes(b"\x80\x02}q\x00." * 20) and None, "it does not begin like one"),
    "an unknown quantisation": (odd_type, "is quantised in a way that cannot be read here (type 29). Get it as Q8_0"),
}


@pytest.mark.usefixtures("ggufs")
@pytest.mark.parametrize("what", BAD)
def test_a_bad_gguf_is_refused_at_once(engine: Engine, tmp_path: Path, what: str) -> None:
    make, said = BAD[what]
    path = Path(shutil.copy(engine.settings.data / "models" / "eight.gguf", tmp_path / "bad.gguf"))
    make(path)
    begin = time.process_time()
    with pytest.raises(DamagedFile) as caught:
        judge_gguf(path)
    assert said in str(caught.value)
    assert time.process_time() - begin < 1


@pytest.mark.usefixtures("ggufs")
def test_without_a_folder_of_its_family_it_says_the_next_step(engine: Engine, tmp_path: Path) -> None:
    alone = Engine(Settings(data=tmp_path, worker="inline", device="cpu"))
    (tmp_path / "models").mkdir()
    for name in ("flux1.safetensors", "eight.gguf"):
        shutil.copy(engine.settings.data / "models" / name, tmp_path / "models" / name)
        refusal = next(card.refusal or "" for card in alone.models() if card.name == name)
        assert refusal == (
            "It is the denoiser of a model without text encoder and VAE of FLUX.1 dev, in the diffusers layout, but it has no VAE and no text encoder, "
            "and no folder of FLUX.1 is here to borrow from. Put a model of it into data/models as a folder: this file then draws with the rest of that one."
        )
        with pytest.raises(EngineError, match="cannot be used"):
            alone.submit(parse_request({"prompt": "x", "model": name}), OWNER)


@pytest.mark.usefixtures("ggufs")
def test_where_the_package_is_missing_the_card_says_how_to_get_it(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.weights.single_files.find_spec", lambda name: None)
    shutil.copytree(engine.settings.data / "models", tmp_path / "models")
    alone = Engine(Settings(data=tmp_path, worker="inline", device="cpu"))
    refusal = next(card.refusal or "" for card in alone.models() if card.name == "eight.gguf")
    assert refusal.endswith("but the package gguf is not installed here. Whoever runs this studio can add it: pip install -r requirements-gguf.txt.")


@pytest.mark.usefixtures("ggufs")
def test_a_lora_goes_on_a_quantised_model_and_comes_off_again(engine: Engine) -> None:
    models = engine.settings.data / "models"
    network = load_components(models / "flux1", device=torch.device("cpu"), dtype=torch.float32).network
    state = {f"transformer.{key}": value.contiguous() for key, value in matrices(network, ["to_q", "to_k", "to_v"], seed=7, scale=0.2).items()}
    (engine.settings.data / "loras").mkdir(exist_ok=True)
    save_file(state, engine.settings.data / "loras" / "tiny.safetensors")
    before = read(draw(engine, "txt2img", model="eight.gguf", **SMALL)[0])
    on = read(draw(engine, "txt2img", model="eight.gguf", loras=[{"name": "tiny", "weight": 0.8}], **SMALL)[0])
    after = read(draw(engine, "txt2img", model="eight.gguf", **SMALL)[0])
    whole = read(draw(engine, "txt2img", model="flux1", loras=[{"name": "tiny", "weight": 0.8}], **SMALL)[0])
    assert np.array_equal(before, after)
    assert distance(on, whole) < distance(on, before)
    assert distance(on, whole) <= 3


@pytest.mark.usefixtures("ggufs")
def test_what_is_small_already_is_not_said_to_be_made_smaller(engine: Engine) -> None:
    """Under a plan that casts, the weights of a GGUF lie as they are in the file, and its pictures say nothing else."""
    for name, weights in (("eight.gguf", None), ("flux1.safetensors", "fp8")):
        made = load_components(engine.settings.data / "models" / name, device=torch.device("cpu"), dtype=torch.float32, plan="in 8 bits")
        assert made.stay is not None
        assert (made.stay.plan, made.stay.weights) == ("in 8 bits", weights)
