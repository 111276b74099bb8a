"""One file of a model that edits: told by a note, a tensor, its header or its name; where nothing tells, the card says how to say it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine import Engine, InvalidRequest, Settings, parse_request
from engine.weights.releases import release_of
from engine.weights.single_files import read_single_file
from tests.conftest import OWNER
from tests.diffusion.families import make_family
from tests.pictures import bring, draw, is_same, read, scene

MARK = "__index_timestep_zero__"
NAMES = [
    ("flux1", "flux1-dev-kontext_fp8_scaled", "FLUX.1 Kontext"), ("flux1", "FLUX.1-Kontext-dev-Q4_K_S", "FLUX.1 Kontext"), ("flux1", "flux1-dev", ""),
    ("qwen", "qwen_image_edit_2511_bf16", "Qwen-Image-Edit 2511"), ("qwen", "Qwen-Image-Edit-2509-Q4_K_M", "Qwen-Image-Edit 2509"),
    ("qwen", "qwen_image_edit_fp8_e4m3fn", "Qwen-Image-Edit"), ("qwen", "qwen_image_fp8_e4m3fn", ""), ("qwen", "qwen-credit-to-someone", ""),
    ("qwen", "qwen-special-edition", ""), ("qwen", "QwenEditPlus", "Qwen-Image-Edit 2509"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "name", "title"), NAMES)
def test_a_name_tells_the_release(family: str, name: str, title: str) -> None:
    told = release_of(family, name=name, tensors=(), words={})
    assert told is not None
    assert (told.release.title, bool(told.by)) == (title, bool(title))


def test_what_is_more_certain_counts_first() -> None:
    def title(**more: object) -> str:
        told = release_of("qwen", **{"name": "qwen-edit", "tensors": (), "words": {}, **more})  # pyright: ignore[reportArgumentType]
        return told.release.title if told else "none"

    assert title(words={"modelspec.title": "Qwen Image Edit 2509"}) == "Qwen-Image-Edit 2509"
    assert title(words={"modelspec.description": "made from Qwen Image Edit 2509"}) == "Qwen-Image-Edit"
    assert title(words={"general.name": "Qwen Image Edit 2509"}, tensors=(MARK,)) == "Qwen-Image-Edit 2511"
    assert title(tensors=(MARK,), note="Qwen-Image-Edit 2509") == "Qwen-Image-Edit 2509"
    assert (title(note=False), title(note=True)) == ("", "Qwen-Image-Edit 2511")
    assert release_of("sd3", name="edit", tensors=(), words={}) is None
    with pytest.raises(ValueError, match="no release"):
        title(note="something")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    data: Path = tmp_path_factory.mktemp("data")
    make_family(data / "models" / "dev", "flux1")
    make_family(data / "models" / "painter", "qwen")
    make_family(data / "models" / "retoucher", "qwen", made_for="edit plus")
    with Engine(Settings(data=data, worker="inline", dtype="float32", device="cpu")) as running:
        yield running


@pytest.fixture
def lay(engine: Engine) -> Iterator[Callable[..., Path]]:
    """Puts the denoiser of a folder beside it, as a file of this name; takes it away again."""
    laid: list[Path] = []

    def put(folder: str, name: str, *, words: dict[str, str] | None = None, mark: bool = False, note: object = None) -> Path:
        models = engine.settings.data / "models"
        tensors = load_file(next((models / folder / "transformer").glob("*.safetensors")))
        save_file(tensors | ({MARK: torch.tensor([])} if mark else {}), models / name, metadata=words)
        laid.append(models / name)
        if note is not None:
            laid.append((models / name).with_suffix(".json"))
            laid[-1].write_text(json.dumps({"edits": note, "base": folder}))
        return models / name

    yield put
    for path in laid:
        path.unlink(missing_ok=True)


def test_a_file_that_is_called_kontext_edits_with_the_parts_of_another_folder(engine: Engine, lay: Callable[..., Path]) -> None:
    """Its parts are those of FLUX.1 [dev]; what it draws is what a folder of Kontext draws."""
    lay("dev", "flux1-kontext.safetensors")
    card = engine.model("flux1-kontext.safetensors")
    assert (card.editor, card.default_guidance, card.guidance) == ("FluxKontextPipeline", 2.5, "told")
    assert card.what.endswith("It is FLUX.1 Kontext, which edits by a sentence: its name says so.")
    wish = {"source": bring(engine, scene(80, 112)), "prompt": "make it night", "width": 64, "height": 96, "steps": 2}
    file = draw(engine, "edit", model=card.name, **wish)[0]
    whole = make_family(engine.settings.data / "models" / "whole", "flux1", made_for="edit")
    folder = draw(engine, "edit", model="whole", **wish)[0]
    shutil.rmtree(whole)
    assert is_same(read(file), read(folder))


def test_where_nothing_tells_it_does_not_edit_and_the_card_says_how_to_say_so(engine: Engine, lay: Callable[..., Path]) -> None:
    lay("dev", "mystery.safetensors")
    card = engine.model("mystery.safetensors")
    assert card.editor == ""
    said = 'If it is FLUX.1 Kontext, say so in mystery.json beside it: {"edits": "FLUX.1 Kontext"}.'
    assert card.what.endswith(f"Its tensors do not tell whether it edits by a sentence. {said}")
    with pytest.raises(InvalidRequest, match="repaints"):
        engine.submit(parse_request({"mode": "edit", "model": card.name, "source": bring(engine, scene(64, 64)), "prompt": "x"}), OWNER)
    lay("dev", "mystery.safetensors", note="FLUX.1 Kontext")
    card = engine.model("mystery.safetensors")
    assert (card.editor, card.what.partition("layout. ")[2]) == (
        "FluxKontextPipeline",
        "It is FLUX.1 Kontext, which edits by a sentence: the note beside it says so.",
    )


def test_a_note_that_says_nothing_known_is_refused_with_what_to_write(engine: Engine, lay: Callable[..., Path]) -> None:
    lay("dev", "odd.safetensors", note="sometimes")
    refusal = next(card.refusal or "" for card in engine.models() if card.name == "odd.safetensors")
    assert refusal.endswith('odd.json says that it edits in a way that is not known. Write "FLUX.1 Kontext" there, or false where it does not edit.')
    lay("dev", "kontext-no.safetensors", note=False)
    assert engine.model("kontext-no.safetensors").editor == ""


def test_qwen_borrows_from_the_folder_of_its_own_release(engine: Engine, lay: Callable[..., Path]) -> None:
    plus = lay("retoucher", "edit-2509.safetensors", words={"general.name": "x"})
    assert read_single_file(plus).base == plus.parent / "retoucher"
    assert engine.model(plus.name).editor == "QwenImageEditPlusPipeline"
    newest = lay("retoucher", "unnamed.safetensors", mark=True)
    card = engine.model(newest.name)
    assert card.what.endswith("It is Qwen-Image-Edit 2511, which edits by a sentence: one of its tensors says so.")
    assert read_single_file(newest).settings["transformer"]["zero_cond_t"] is True
    assert read_single_file(plus).settings["transformer"]["zero_cond_t"] is False
    # The mark is no weight.
    assert draw(engine, "txt2img", model=newest.name, width=64, height=64, steps=1)
    plain = lay("painter", "qwen.safetensors")
    assert read_single_file(plain).base == plain.parent / "painter"


def test_an_editor_without_eyes_says_what_is_missing(engine: Engine, lay: Callable[..., Path]) -> None:
    lay("painter", "edit-2511.safetensors", note="Qwen-Image-Edit 2511")
    card = engine.model("edit-2511.safetensors")
    assert (card.editor, card.refusal) == ("", None)
    assert card.what.endswith(
        "It is Qwen-Image-Edit 2511: the note beside it says so. It cannot edit here: painter, whose parts it borrows, has none that sees pictures. "
        "Put the folder of Qwen-Image-Edit 2511 here."
    )
