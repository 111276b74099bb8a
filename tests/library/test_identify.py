"""A file is known by its tensors before anything is allocated; what is wrong, damaged or a pickle is refused in a sentence."""

from __future__ import annotations

import json
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import DamagedFile, EngineError, IncompatibleAdapter
from engine.library.identify import MODELS, expect, identify
from tests.conftest import STARTER
from tests.library.key_tables import TABLES, kohya, sd1, sdxl, unet_layers, write

PRESETS = STARTER.parents[1]
BUNDLED = {
    "loras/neon.safetensors": ("lora", "It is a LoRA for the starter, in the peft layout."),
    "controlnets/starter-edges.safetensors": ("control-lora", "It is a Control-LoRA for the starter, in the diffusers layout."),
    "embeddings/snail.safetensors": ("embedding", "It is an embedding for the starter."),
    "upscalers/starter-x2.safetensors": ("upscaler", "It is an upscaler."),
    "models/starter/image_encoder/model.safetensors": ("image encoder", "It is an image encoder."),
    "models/starter/text_encoder/model.safetensors": ("text encoder", "It is a text encoder for the starter."),
    "models/starter": ("checkpoint", "It is a whole model of the starter, in the diffusers layout."),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.timed
def test_a_file_is_known_by_its_tensors(tmp_path: Path, name: str) -> None:
    make, *wanted = TABLES[name]
    # A name says nothing: every file has the same one.
    path = write(tmp_path / "sd15.safetensors", make())
    begin = time.monotonic()
    found = identify(path)
    assert [found.kind, found.family, found.layout, found.variant, found.is_inpainting] == wanted
    assert time.monotonic() - begin < 1
    assert found.text.startswith("It is ")
    assert found.text.endswith(".")


def test_there_are_many_tables() -> None:
    assert len(TABLES) >= 60


@pytest.mark.parametrize("name", BUNDLED)
def test_what_is_bundled_is_known(name: str) -> None:
    found = identify(PRESETS / name)
    assert (found.kind, found.text) == BUNDLED[name]


def test_sentences_name_what_easel_cannot_draw(tmp_path: Path) -> None:
    sentences = {name: identify(write(tmp_path / "x.safetensors", TABLES[name][0]())).text for name in ("pixart", "motion module", "sdxl inpainting")}
    assert sentences == {
        "pixart": "It is the denoiser of a model without text encoder and VAE of PixArt, in the original layout.",
        "motion module": "It is nothing that Easel knows, maybe a motion module of AnimateDiff.",
        "sdxl inpainting": "It is a whole model of SDXL, for inpainting, in the original layout.",
    }


# What is refused, and with which words.


def lora(path: Path) -> Path:
    return write(path, kohya(unet_layers(768, start="lora_unet_", glue="_")))


def long_header(path: Path) -> Path:
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 60 * 2**20) + b"{" * 1000)
        file.truncate(61 * 2**20)
    return path


def cut(path: Path) -> Path:
    write(path, sd1())
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    return path


def pickled(path: Path) -> Path:
    path = path.with_suffix(".ckpt")
    path.write_bytes(b"\x80\x02}q\x00.")
    return path


def renamed_pickle(path: Path) -> Path:
    path.write_bytes(b"\x80\x02}q\x00." * 20)
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


REFUSED: dict[str, tuple[Callable[[Path], Path], type[EngineError], str]] = {
    "a lora": (lora, IncompatibleAdapter, "model.safetensors is not a whole model. It is a LoRA for Stable Diffusion 1, in the kohya layout. Put it into data/loras."),
    "a vae": (lambda path: write(path, TABLES["sd vae"][0]()), IncompatibleAdapter, "Put it into data/vaes."),
    "an unknown one": (lambda path: write(path, TABLES["something else"][0]()), IncompatibleAdapter, "It is nothing that Easel knows. Choose another file."),
    "a pickle": (pickled, DamagedFile, "model.ckpt is a pickle, which can carry a program. Get the .safetensors file of it"),
    "a pickle by another name": (renamed_pickle, DamagedFile, "is damaged: its header has an impossible length. Copy or download it again."),
    "60 MB of header": (long_header, DamagedFile, "is damaged: its header has an impossible length."),
    "one that is cut short": (cut, DamagedFile, "it is cut short or has something appended."),
    "one without a byte": (empty, DamagedFile, "model.safetensors is empty. Copy or download it again."),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.timed
def test_what_is_no_model_is_refused_with_the_next_step(tmp_path: Path, name: str) -> None:
    make, kind, words = REFUSED[name]
    path = make(tmp_path / "model.safetensors")
    begin = time.monotonic()
    with pytest.raises(kind) as refused:
        expect(path, MODELS)
    assert time.monotonic() - begin < 1
    assert words in str(refused.value)
    assert refused.value.hint
    assert refused.value.field == "model"


def test_a_model_offered_as_a_lora_is_told_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleAdapter) as refused:
        expect(write(tmp_path / "big.safetensors", sdxl()), frozenset({"lora"}), field="loras")
    assert str(refused.value) == "big.safetensors is not a LoRA. It is a whole model of SDXL, in the original layout. Put it into data/models."
    assert refused.value.field == "loras"


def test_an_sdxl_file_that_is_called_sd15_is_still_sdxl(tmp_path: Path) -> None:
    assert identify(write(tmp_path / "sd15-pruned.safetensors", sdxl())).made_for == "SDXL"


# Folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STARTER, tmp_path / "copy"))


def without_a_part(folder: Path) -> None:
    shutil.rmtree(folder / "vae")


def without_a_shard(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model-00002-of-00003.safetensors").unlink()


def with_a_cut_part(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def with_pickles(folder: Path) -> None:
    (folder / "vae" / "diffusion_pytorch_model.safetensors").rename(folder / "vae" / "diffusion_pytorch_model.bin")


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def naming_code(folder: Path) -> None:
    edit(folder / "text_encoder" / "config.json", auto_map={"AutoModel": "modeling_mine.MyModel"})


def with_a_class_of_its_own(folder: Path) -> None:
    edit(folder / "model_index.json", unet=["my_unet", "MyUNet"])


def with_a_pipeline_of_its_own(folder: Path) -> None:
    edit(folder / "model_index.json", _class_name=["pipeline", "MyPipeline"])


def called_sdxl(folder: Path) -> None:
    edit(folder / "model_index.json", _class_name="StableDiffusionXLPipeline")


def with_a_damaged_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("[[[[")


FOLDERS: dict[Callable[[Path], None], str] = {
    without_a_part: "The model copy has no vae. Copy or download the whole folder again.",
    without_a_shard: "The unet of copy lacks diffusion_pytorch_model-00002-of-00003.safetensors. Copy or download the whole folder again.",
    with_a_cut_part: "The file model.safetensors is damaged: it is cut short or has something appended.",
    with_pickles: "The vae of copy is a pickle, which can carry a program. Get the version of the model with .safetensors files.",
    naming_code: "The text_encoder of copy names code of its own, which Easel does not run. Choose another model.",
    with_a_class_of_its_own: "The unet of copy needs code of its own, which Easel does not run. Choose another model.",
    with_a_pipeline_of_its_own: "copy brings a pipeline of its own, and Easel runs no code that comes with a model. Choose another model.",
    called_sdxl: "copy says that it is SDXL, but its weights are the starter.",
    with_a_damaged_index: "The file model_index.json of copy cannot be read. Copy or download the model again.",
}


@pytest.mark.parametrize("spoil", FOLDERS, ids=lambda spoil: spoil.__name__)
@pytest.mark.timed
def test_a_folder_that_cannot_be_used_says_why(folder: Path, spoil: Callable[[Path], None]) -> None:
    spoil(folder)
    begin = time.monotonic()
    with pytest.raises(DamagedFile) as refused:
        identify(folder)
    assert time.monotonic() - begin < 1
    assert FOLDERS[spoil] in str(refused.value)
