"""The shelf of models: folders and single files, what cannot be used says why, a default that lasts, a bin."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine import Engine, InvalidRequest, ModelNotFound, Settings, parse_request
from engine.__main__ import main
from engine.library.catalogue import BUNDLED, Catalogue
from tests.conftest import OWNER, STARTER
from tests.library.key_tables import kohya, sd1, sd2, sdxl, unet_layers, write
from ui.models import models_view


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Nothing is drawn here, so nothing is started."""
    return Engine(Settings(data=tmp_path, worker="inline", device="cpu"))


def second(models: Path, name: str = "second") -> Path:
    """Another model that can be used, with a card and a licence of its own."""
    folder = Path(shutil.copytree(STARTER, models / name))
    facts = json.loads((folder / "easel.json").read_text())
    del facts["licence"]
    (folder / "easel.json").write_text(
        json.dumps(facts | {"title": "Second", "default_steps": 11, "sizes": [[128, 128]], "default_size": [128, 128]})
    )
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Second\nTrained on drawings.\n")
    return folder


def of_the_second_diffusion(models: Path, name: str = "sd2") -> Path:
    """A folder whose denoiser hears words 1024 wide, as that of Stable Diffusion 2 does, under the first one's pipeline."""
    folder = second(models, name)
    weights, settings = next((folder / "unet").glob("*.safetensors")), folder / "unet" / "config.json"
    tensors = load_file(weights)
    wide = {key: torch.zeros(one.shape[0], 1024) for key, one in tensors.items() if key.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}
    save_file(tensors | wide, weights)
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"cross_attention_dim": 1024}))
    return folder


def refusal(models: Path, name: str) -> str:
    return next(card.refusal or "" for card in Catalogue((BUNDLED, models)).cards() if card.name == name)


def test_every_file_says_what_it_is(models: Path) -> None:
    second(models)
    write(models / "dream.safetensors", sd1())
    write(models / "sd15.safetensors", sdxl())
    write(models / "style.safetensors", kohya(unet_layers(768, start="lora_unet_", glue="_")))
    (models / "old.ckpt").write_bytes(b"\x80\x02}q\x00.")
    (models / "half.safetensors").write_bytes(b"\0" * 40)
    (models / "notes.txt").write_text("no model")
    cards = {card.name: card for card in Catalogue((BUNDLED, models)).cards()}
    assert list(cards) == ["starter", "dream.safetensors", "half.safetensors", "old.ckpt", "sd15.safetensors", "second", "style.safetensors"]
    assert [name for name, card in cards.items() if card.refusal is None] == ["starter", "second"]
    assert cards["dream.safetensors"].refusal == (
        "It is a whole model of Stable Diffusion 1, in the original layout, but layers of its text encoder are missing. Copy or download it again."
    )
    assert cards["style.safetensors"].refusal == "It is a LoRA for Stable Diffusion 1, in the kohya layout. Put it into data/loras."
    assert "is a pickle, which can carry a program." in (cards["old.ckpt"].refusal or "")
    assert "is damaged" in (cards["half.safetensors"].refusal or "")
    # What the tensors say counts, not the name; nothing was read but the header.
    assert (cards["sd15.safetensors"].family, cards["sd15.safetensors"].content_hash) == ("sdxl", "")
    assert cards["second"].licence == "mit"
    assert cards["second"].parts == cards["starter"].parts
    assert sum(cards["starter"].parts.values()) < cards["starter"].bytes_on_disk


def test_what_cannot_be_used_is_refused_by_every_door(engine: Engine, models: Path) -> None:
    write(models / "dream.safetensors", sd1())
    with pytest.raises(ModelNotFound, match="The model dream cannot be used: It is a whole model"):
        engine.submit(parse_request({"prompt": "x", "model": "dream.safetensors"}), OWNER)
    with pytest.raises(ModelNotFound, match="cannot be used"):
        engine.choose_default_model("dream.safetensors")
    with pytest.raises(ModelNotFound, match="There is no model named nothing here"):
        engine.model("nothing")


def test_a_folder_that_is_damaged_does_not_hide_the_others(models: Path) -> None:
    shutil.rmtree(second(models) / "vae")
    (second(models, "third") / "easel.json").write_text("{{{")
    assert refusal(models, "second") == "The model second has no vae. Copy or download the whole folder again."
    assert refusal(models, "third") == "its easel.json is damaged. Put the original file back."
    assert refusal(models, "starter") == ""


def test_a_folder_is_looked_at_again_once_it_is_mended(models: Path) -> None:
    folder = second(models)
    (folder / "vae").rename(models.parent / "vae")
    assert "has no vae" in refusal(models, "second")
    (models.parent / "vae").rename(folder / "vae")
    assert refusal(models, "second") == ""


def test_a_link_that_leads_out_is_not_followed(models: Path, tmp_path: Path) -> None:
    outside = second(tmp_path / "elsewhere")
    (models / "link").symlink_to(outside)
    assert [card.name for card in Catalogue((models,)).cards()] == []


def test_the_default_lasts_and_a_start_with_a_name_wins(engine: Engine, models: Path, tmp_path: Path) -> None:
    second(models)
    assert engine.default_model == "starter"
    engine.choose_default_model("second")
    assert (engine.default_model, engine.model().title, engine.health().model) == ("second", "Second", "second")
    assert Engine(Settings(data=tmp_path, worker="inline")).default_model == "second"
    named = Engine(Settings(data=tmp_path, worker="inline", model="starter"))
    assert named.default_model == "starter"
    with pytest.raises(InvalidRequest, match="started with --model starter"):
        named.choose_default_model("second")
    # A default that is gone counts for nothing.
    shutil.rmtree(models / "second")
    assert engine.default_model == "starter"
    (tmp_path / "studio.json").write_text("[1]")
    assert engine.default_model == "starter"


def test_deleting_moves_to_the_bin_and_spares_what_is_needed(engine: Engine, models: Path, tmp_path: Path) -> None:
    second(models)
    with pytest.raises(InvalidRequest, match="This model is the default of this studio"):
        engine.remove_model("starter")
    engine.choose_default_model("second")
    with pytest.raises(InvalidRequest, match="starter belongs to Easel and stays"):
        engine.remove_model("starter")
    with pytest.raises(InvalidRequest, match="is the default"):
        engine.remove_model("second")
    engine.choose_default_model("starter")
    moved = engine.remove_model("second")
    assert moved.parent == tmp_path / "bin"
    assert (moved / "model_index.json").is_file()
    assert [card.name for card in engine.models()] == ["starter"]
    with pytest.raises(ModelNotFound):
        engine.remove_model("second")
    assert STARTER.is_dir()


def test_a_model_that_somebody_waits_for_stays(engine: Engine, models: Path) -> None:
    second(models)
    engine.submit(parse_request({"prompt": "x", "model": "second"}), OWNER)
    with pytest.raises(InvalidRequest, match="Pictures are still waiting for this model"):
        engine.remove_model("second")


@pytest.mark.parametrize("name", ["../outside", "..", "", "a/b", "/etc", "second\0", "link"])
def test_hostile_names_find_nothing(engine: Engine, models: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").mkdir()
    (models / "link").symlink_to(tmp_path / "outside")
    for act in (engine.remove_model, engine.model_words, engine.choose_default_model):
        with pytest.raises(ModelNotFound):
            act(name)
    assert (tmp_path / "outside").is_dir()
    assert not (tmp_path / "bin").exists()


def test_the_words_of_its_maker_are_cut_to_a_few_pages(engine: Engine, models: Path) -> None:
    folder = second(models)
    assert engine.model_words("second") == "# Second\nTrained on drawings.\n"
    (folder / "README.md").write_bytes(b"\xff" * 200_000)
    assert len(engine.model_words("second")) == 64 * 1024
    (folder / "README.md").unlink()
    assert engine.model_words("second") == ""


def test_the_second_stable_diffusion_is_called_so(models: Path, engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """As a folder and as one file, drawn by the row of the first one: on the Models tab, in a terminal, beside an adapter."""
    of_the_second_diffusion(models)
    write(models / "two.safetensors", sd2())
    (engine.settings.data / "loras").mkdir(exist_ok=True)
    write(engine.settings.data / "loras" / "first.safetensors", kohya(unet_layers(768, start="lora_unet_", glue="_")))
    cards = {card.name: card for card in engine.models()}
    assert {name: cards[name].family_title for name in ("starter", "sd2", "two.safetensors")} == {
        "starter": "Stable Diffusion 1", "sd2": "Stable Diffusion 2", "two.safetensors": "Stable Diffusion 2",
    }  # fmt: skip
    assert cards["sd2"].family == "sd1"
    shown = {one["name"]: one for one in models_view(engine, may_manage=False)["models"]}
    assert shown["sd2"]["family"] == "Stable Diffusion 2"
    assert "family Stable Diffusion 2," in next(one["text"] for one in shown["sd2"]["about"] if one["title"] == "On this machine")
    assert main(["models", "list", "--data", str(engine.settings.data)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("sd2 ")]
    assert "Stable Diffusion 2 " in line
    first = next(card for card in engine.loras() if card.name == "first")
    assert first.misfit(cards["sd2"]) == "it was made for Stable Diffusion 1, not for Second."
