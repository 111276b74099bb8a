"""One bad entry on the shelf of models hides no other; half precision alone, linked parts and folders that are still being copied."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.contract.errors import DamagedFile
from engine.diffusion import preprocessors, vaes
from engine.diffusion.image_encoder import load_image_encoder
from engine.diffusion.loading import check_model, load_components
from engine.diffusion.preprocessors import quiet
from engine.diffusion.scorer import load_scorer
from engine.diffusion.upscalers import load_upscaler
from engine.library.catalogue import Catalogue, content_hash, read_card
from engine.library.identify import part_bytes
from engine.weights.single_files import files_of
from tests.conftest import STARTER
from tests.diffusion.families import make_family

CPU = torch.device("cpu")


def linked(models: Path) -> None:
    """What a tool leaves that keeps its weights elsewhere, once that place is cleared."""
    shutil.copytree(STARTER, models / "bad")
    weights = next((models / "bad" / "vae").glob("*.safetensors"))
    weights.unlink()
    weights.symlink_to(models / "gone.safetensors")


def borrowing(models: Path) -> Path:
    make_family(models / "flux1", "flux1")
    shutil.copy(next((models / "flux1" / "transformer").glob("*.safetensors")), models / "bad.safetensors")
    return models / "flux1"


def cut_base(models: Path) -> None:
    weights = next((borrowing(models) / "vae").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:200])


def base_without(models: Path, name: str) -> None:
    (borrowing(models) / name).unlink()


def odd_alignment(models: Path) -> None:
    def text(words: str) -> bytes:
        return struct.pack("<Q", len(words)) + words.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("general.alignment") + struct.pack("<I", 8) + text("abc")
    (models / "bad.gguf").write_bytes(head + text("a.weight") + struct.pack("<IQQIQ", 2, 1, 1, 0, 0) + bytes(64))


BAD: dict[str, Callable[[Path], None]] = {
    "a link to what is gone": linked,
    "a base that is cut short": cut_base,
    "a base without its schedule": lambda models: base_without(models, "scheduler/scheduler_config.json"),
    "a base without its settings": lambda models: base_without(models, "transformer/config.json"),
    "a gguf with words where a number belongs": odd_alignment,
}


@pytest.mark.parametrize("what", BAD)
def test_it_says_why_and_the_others_are_there(tmp_path: Path, what: str) -> None:
    shutil.copytree(STARTER, tmp_path / "good")
    BAD[what](tmp_path)
    cards = {card.name: card for card in Catalogue((tmp_path,)).cards()}
    (bad,) = (card for name, card in cards.items() if name.startswith("bad"))
    print(bad.refusal)
    assert bad.refusal
    assert len(bad.refusal) < 300
    assert cards["good"].refusal is None


def test_a_file_draws_once_the_folder_that_it_borrows_from_is_whole(tmp_path: Path) -> None:
    """Looked at while it was being copied, it is not remembered as refused"""
    missing = borrowing(tmp_path) / "vae" / "config.json"
    content = missing.read_text()
    missing.unlink()
    assert "has no vae/config.json" in str(read_card(tmp_path / "bad.safetensors").refusal)
    missing.write_text(content)
    card = read_card(tmp_path / "bad.safetensors")
    assert card.refusal is None
    assert card.latents is not None


def halved(folder: Path, part: str) -> None:
    """Its weights under the names that `save_pretrained(variant="fp16")` gives them."""
    for one in (folder / part).glob("diffusion_pytorch_model*"):
        name = one.name.replace("diffusion_pytorch_model", "diffusion_pytorch_model.fp16", 1)
        one.rename(one.with_name("diffusion_pytorch_model.safetensors.index.fp16.json" if one.name.endswith(".index.json") else name))
    for index in (folder / part).glob("*.index.fp16.json"):
        index.write_text(index.read_text().replace("diffusion_pytorch_model-", "diffusion_pytorch_model.fp16-"))


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_half_precision_alone_is_read_and_counted(tmp_path: Path, part: str) -> None:
    folder = Path(shutil.copytree(STARTER, tmp_path / "half"))
    halved(folder, part)
    assert read_card(folder).refusal is None
    assert part_bytes(folder) == part_bytes(STARTER)
    assert check_model(folder).counts == check_model(STARTER).counts
    whole, half = (load_components(one, device=torch.device("cpu"), dtype=torch.float32).parts[part].state_dict() for one in (STARTER, folder))
    assert whole.keys() == half.keys()
    assert all(torch.equal(whole[name], half[name]) for name in whole)


def test_two_precisions_side_by_side_count_once(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(STARTER, tmp_path / "both"))
    halved(folder, "unet")
    for one in (STARTER / "unet").iterdir():
        shutil.copy(one, folder / "unet" / one.name)
    assert part_bytes(folder) == part_bytes(STARTER)
    assert check_model(folder).counts == check_model(STARTER).counts


def test_a_part_that_is_a_link_counts_as_what_it_leads_to(tmp_path: Path) -> None:
    folder, other = Path(shutil.copytree(STARTER, tmp_path / "models" / "one")), tmp_path / "elsewhere"
    plain = content_hash(folder)
    shutil.move(folder / "vae", other)
    (folder / "vae").symlink_to(other)
    assert content_hash(folder) == plain
    assert check_model(folder).counts == check_model(STARTER).counts
    assert any(path.parent.name == "vae" for path in files_of(folder))
    assert read_card(folder).refusal is None
    settings = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(settings | {"note": 1}))
    assert content_hash(folder) != plain
    assert read_card(folder).content_hash == content_hash(folder)


def test_what_is_never_opened_is_no_reason_to_refuse(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(STARTER, tmp_path / "spare"))
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}))
    assert read_card(folder).refusal is None


def read_model() -> object:
    return load_components(STARTER, device=CPU, dtype=torch.float32)


def read_vae() -> object:
    return vaes._load(STARTER / "vae", STARTER, torch.float32, CPU)  # pyright: ignore[reportPrivateUsage]


def read_upscaler() -> object:
    return load_upscaler(STARTER.parents[1] / "upscalers" / "starter-x2.safetensors", CPU)


@pytest.mark.parametrize(
    ("read", "within"),
    [
        (read_model, "diffusers.models.autoencoders.autoencoder_tiny.AutoencoderTiny.from_pretrained"),
        (read_vae, "diffusers.models.autoencoders.autoencoder_tiny.AutoencoderTiny.from_pretrained"),
        (
            lambda: load_image_encoder(STARTER / "image_encoder", device=CPU, dtype=torch.float32),
            "transformers.CLIPVisionModelWithProjection.from_pretrained",
        ),
        (lambda: load_scorer(STARTER, device=CPU), "engine.diffusion.scorer.load_networks"),
        (read_upscaler, "spandrel.ModelLoader.load_from_file"),
        (lambda: preprocessors.build("hed", Path("weights"), CPU), "controlnet_aux.HEDdetector.from_pretrained"),
    ],
    ids=["model", "VAE", "image encoder", "scorer", "upscaler", "preprocessor"],
)
def test_too_little_memory_is_no_fault_of_the_file(read: Callable[[], object], within: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(message: str) -> Callable[..., object]:
        def full(*_: object, **__: object) -> object:
            raise RuntimeError(message)

        return full

    with quiet():
        monkeypatch.setattr(within, raising("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."))
    with pytest.raises(RuntimeError, match="allocate memory"):
        read()
    monkeypatch.setattr(within, raising("size mismatch"))
    with pytest.raises(DamagedFile):
        read()


def test_a_note_that_changes_what_is_drawn_is_part_of_the_hash(tmp_path: Path) -> None:
    make_family(tmp_path / "qwen", "qwen")
    file = tmp_path / "some.safetensors"
    shutil.copy(next((tmp_path / "qwen" / "transformer").glob("*.safetensors")), file)
    hashes: set[str] = set()
    for edits in (False, "Qwen-Image-Edit 2509", "Qwen-Image-Edit 2511"):
        file.with_suffix(".json").write_text(json.dumps({"edits": edits}))
        hashes.add(read_card(file).content_hash)
    assert len(hashes) == 3
