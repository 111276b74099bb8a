"""A new denoiser under an old family: the export writes what it made and leaves what others made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from engine.library.catalogue import read_card
from engine.starter.about import stage_of
from engine.starter.export import code_version, export, export_decoder
from engine.starter.figures import figures_of
from engine.starter.grid import load_pipeline
from engine.starter.train import take_over
from engine.starter.unet import flat_weights
from tests.conftest import STARTER


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model, exported anew over a copy of itself from a checkpoint of its own weights."""
    work, out = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("out") / "starter"
    shutil.copytree(STARTER, out)
    take_over(STARTER, work)
    shutil.copytree(STARTER / "text_encoder", work / "text_encoder")
    torch.save({"average": flat_weights(STARTER / "unet"), "samples": 1234}, work / "unet-256.pt")
    (work / "curve.jsonl").write_text(json.dumps({"size": 256, "step": 50, "samples": 1234, "minutes": 2.5, "loss": 0.2}) + "\n")
    export(work, out, recipe="starter-next")
    return out


def facts_of(model: Path) -> dict[str, object]:
    return json.loads((model / "easel.json").read_text(encoding="utf-8"))


def test_the_image_encoder_stays_a_part_of_the_model(exported: Path) -> None:
    index = json.loads((exported / "model_index.json").read_text(encoding="utf-8"))
    assert index["image_encoder"] == ["transformers", "CLIPVisionModelWithProjection"]
    assert index["feature_extractor"] == ["transformers", "CLIPImageProcessor"]
    pipe = load_pipeline(exported)
    assert type(getattr(pipe, "image_encoder", None)).__name__ == "CLIPVisionModelWithProjection"


def test_what_was_measured_and_said_stays(exported: Path) -> None:
    assert figures_of(STARTER)
    assert figures_of(exported) == figures_of(STARTER)
    assert read_card(exported).about == read_card(STARTER).about != ()


def test_every_run_names_its_commit(exported: Path) -> None:
    runs = facts_of(exported)["training"]
    assert isinstance(runs, list)
    *before, new = runs
    assert before == facts_of(STARTER)["training"]
    assert new == {"recipe": "starter-next", "commit": code_version(), "size": 256, "samples": 1234, "minutes": 2.5, "loss": 0.2}
    assert all(run["commit"] for run in before)
    card = (STARTER / "README.md").read_text(encoding="utf-8")
    assert all(f"| {run['commit']} |" in card for run in before)


def test_a_new_decoder_leaves_every_other_weight(exported: Path, tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "starter"
    shutil.copytree(exported, out)
    take_over(STARTER, work)
    (work / "decoder.jsonl").write_text(json.dumps({"step": 50, "minutes": 2.5, "loss": 0.1, "psnr": 30.0}) + "\n")
    export_decoder(work, out, recipe="starter-v3")
    of = {folder: {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} for folder in (out, exported)}
    assert {path.as_posix() for path in of[out] if of[out][path] != of[exported].get(path)} <= {"easel.json"}
    run = facts_of(out)["training"][-1]  # type: ignore[index]
    assert run == {"recipe": "starter-v3", "commit": code_version(), "part": "decoder", "size": 128, "samples": 400, "minutes": 2.5, "loss": 0.1}
    assert stage_of(run) == "decoder on crops of 128 px"
