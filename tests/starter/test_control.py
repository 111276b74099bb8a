"""The starter's controls: maps that fit their pictures, a training that learns and resumes, bundled files that lead."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPTokenizer

from engine.diffusion.control_lora import compress_control, expand_control
from engine.diffusion.tiny_depth import BUNDLED_DEPTH, estimate_depth, load_tiny_depth
from engine.starter import control as control_module
from engine.starter.attributes import random_labels
from engine.starter.control import ControlData, ControlPlan, fresh_control, load_unet, main, metadata, save_control, to_maps, train_control
from engine.starter.control_maps import depth_map, draw_depths, drop_lines, edge_map, rough_depth, rough_edges
from engine.starter.dataset import draw_dataset, load_dataset
from engine.starter.depth import correlation, measure
from engine.starter.evaluate_control import BUNDLED, KINDS, DepthJudge, draw_with, edge_f1, fresh_scenes, read_control
from engine.starter.scenes import draw
from engine.starter.text_encoder import build_text_encoder
from engine.starter.train import make_latents
from engine.starter.unet import build_unet
from tests.conftest import STARTER

SEED = 4
PLAN = ControlPlan("edges", batch=4, rank=4, channels=(4, 8, 8, 8), held_out=4, compiled=False, cooldown=1e-9)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few scenes with latents and depth, and an untrained text encoder."""
    folder = tmp_path_factory.mktemp("control")
    draw_dataset(folder, count=20, seed=SEED, is_wide=True, workers=2)
    draw_depths(folder, seed=SEED, count=12, is_wide=True, workers=1)
    make_latents(folder, sizes=[256])
    tokenizer = CLIPTokenizer.from_pretrained(STARTER / "tokenizer")
    tokenizer.save_pretrained(folder / "tokenizer")
    torch.manual_seed(0)
    build_text_encoder(tokenizer, layers=1).save_pretrained(folder / "text_encoder")
    return folder


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a tiny untrained denoiser."""
    folder = tmp_path_factory.mktemp("small")
    torch.manual_seed(1)
    build_unet((32, 32, 32)).save_pretrained(folder / "unet")
    return folder


def test_depth_belongs_to_the_scene_of_its_number(work: Path) -> None:
    images, _, degraded = load_dataset(work)
    depths = np.load(work / "depth-256.npy")
    for index in range(1, 4):
        rng = np.random.Generator(np.random.PCG64([SEED, index]))
        labels = random_labels(rng, is_wide=True)
        scene = draw(labels, seed=int(rng.integers(2**31)))
        assert not degraded[index]
        assert np.array_equal(scene.image, images[index])
        assert np.array_equal(depth_map(scene.depth), depths[index])
        assert depths[index][-1].mean() > 200 > 20 > depths[index][0].mean()


def test_rough_maps_stay_maps_of_the_same_scene() -> None:
    rng = np.random.default_rng(3)
    scene = fresh_scenes(1)
    picture, edges, depth = scene.pictures[0], scene.maps["edges"][0], scene.maps["depth"][0]
    assert np.array_equal(np.unique(edges), [0, 255])
    roughened = [rough_edges(picture, rng) for _ in range(24)]
    assert len({one.tobytes() for one in roughened}) > 20
    fewer = [drop_lines(edges, rng) for _ in range(8)]
    assert all(not (one > edges).any() for one in fewer)
    assert min(one.sum() for one in fewer) < edges.sum()
    assert min(correlation(rough_depth(depth, rng), depth) for _ in range(24)) > 0.9
    assert correlation(np.zeros_like(depth), depth) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_mirrored_picture_has_a_mirrored_map(work: Path, kind: str) -> None:
    data = ControlData(work, replace(PLAN, kind=kind, dropout=1.0))
    rows = np.array([1, 2, 3])
    plain, turned = (data.of(rows, np.full(3, side), np.random.default_rng(8)) for side in (False, True))
    assert torch.equal(turned[2], plain[2].flip(-1))
    # The encoder of patches is not symmetric to the last bit; the layout of the latents is.
    flat, flipped = plain[0][:, 0], turned[0][:, 0].flip(-1)
    assert float(torch.corrcoef(torch.stack([flat.flatten(), flipped.flatten()]))[0, 1].abs()) > 0.9


def test_a_fresh_control_leaves_the_starter_as_it_is(work: Path) -> None:
    unet = load_unet(STARTER)
    maps = to_maps(np.stack([edge_map(image) for image in load_dataset(work)[0][1:5]]))
    bare = fresh_control(unet, PLAN.channels, maps, seed=1)
    words = metadata(PLAN, {"samples": 0, "minutes": 0.0})
    control: Any = expand_control(compress_control(bare, unet, rank=4), words, unet)
    sample, embeds = torch.randn(4, 8, 32, 32).bfloat16(), torch.randn(4, 77, 256).bfloat16()
    model: Any = unet
    with torch.inference_mode():
        seen = control.controlnet_cond_embedding(maps)
        down, mid = control(sample, 400, embeds, maps, return_dict=False)
        led = model(sample, 400, embeds, down_block_additional_residuals=down, mid_block_additional_residual=mid, return_dict=False)[0]
        assert torch.equal(led, model(sample, 400, embeds, return_dict=False)[0])
    # Silent, not blind: lines reach the copied encoder from the first step.
    assert float(seen.float().std()) > 0.5


def test_a_few_steps_lower_the_loss(work: Path, small_model: Path, tmp_path: Path) -> None:
    _links(work, tmp_path)
    train_control(tmp_path, small_model, replace(PLAN, steps=40, say_every=10, measure_every=10, ema=0.5, learning_rate=4e-3))
    lines = [json.loads(line) for line in (tmp_path / "control-edges.jsonl").read_text().splitlines()]
    print("held-out loss after each ten steps:", [line["own"] for line in lines])
    assert [line["step"] for line in lines] == [10, 20, 30, 40]
    assert lines[-1]["own"] < 0.97 * lines[0]["own"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_training_is_the_same_training(work: Path, small_model: Path, tmp_path: Path, kind: str) -> None:
    plan = replace(PLAN, kind=kind, steps=6)
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        _links(work, tmp_path / name)
    whole, facts = train_control(tmp_path / "whole", small_model, plan)
    train_control(tmp_path / "parts", small_model, replace(plan, steps=3))
    resumed, same = train_control(tmp_path / "parts", small_model, plan)
    assert facts["samples"] == same["samples"] == 24
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert any(name.endswith(".up") and value.any() for name, value in whole.items())


def test_what_is_trained_is_what_the_file_holds(work: Path, small_model: Path, tmp_path: Path) -> None:
    _links(work, tmp_path)
    state, facts = train_control(tmp_path, small_model, replace(PLAN, steps=3, learning_rate=0.02))
    save_control(state, metadata(PLAN, facts), tmp_path / "own.safetensors")
    tensors, words = read_control(tmp_path / "own.safetensors")
    unet = load_unet(small_model)
    ours, theirs = (expand_control(one, words, unet).state_dict() for one in (state, tensors))
    assert max(float((value - theirs[name]).abs().max()) for name, value in ours.items()) < 0.01
    assert {"easel.kind", "easel.title", "easel.control", "easel.preprocessor", "easel.base", "easel.licence", "easel.rank"} <= words.keys()


def test_a_damaged_checkpoint_is_said_in_words(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _links(work, tmp_path)
    (tmp_path / "control-edges.pt").write_bytes(b"words")
    assert main(["--kind", "edges", "--minutes", "0.01", "--work", str(tmp_path), "--out", str(tmp_path), "--no-compile"]) == 1
    assert "control-edges.pt" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.safetensors"))


def test_ctrl_c_keeps_what_was_learnt(work: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    _links(work, tmp_path)
    usual = control_module._step  # pyright: ignore[reportPrivateUsage]

    def interrupted(*arguments: Any) -> float:
        signal.raise_signal(signal.SIGINT)
        return usual(*arguments)

    monkeypatch.setattr(control_module, "_step", interrupted)
    _, facts = train_control(tmp_path, small_model, replace(PLAN, steps=6))
    assert facts["step"] == 1
    assert torch.load(tmp_path / "control-edges.pt", weights_only=True)["step"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundled_control_leads(kind: str) -> None:
    path, scenes = BUNDLED / f"starter-{kind}.safetensors", fresh_scenes(6)
    assert path.stat().st_size <= 3_200_000
    maps = scenes.maps[kind]
    plain, led = (draw_with(STARTER, scenes.captions, maps, control, steps=10) for control in (None, path))
    judge: Any = edge_f1 if kind == "edges" else DepthJudge()
    without, with_it = (float(np.mean([judge(a, b) for a, b in zip(crowd, maps, strict=True)])) for crowd in (plain, led))
    print(f"{kind}: {without:.3f} without, {with_it:.3f} with")
    assert with_it > without + {"edges": 0.08, "depth": 0.15}[kind]


def test_the_bundled_estimator_knows_depth_in_any_size() -> None:
    assert BUNDLED_DEPTH.stat().st_size <= 400_000
    model = load_tiny_depth()
    found = measure(model, 8)
    print(f"correlation {found:.3f} on fresh scenes")
    assert found > 0.95
    scene = fresh_scenes(1)
    tall = np.ascontiguousarray(np.pad(scene.pictures[0], ((77, 0), (0, 0), (0, 0)), mode="edge"))
    assert estimate_depth(model, tall).shape == tall.shape[:2]


def _links(work: Path, folder: Path) -> None:
    for path in work.iterdir():
        (folder / path.name).symlink_to(path)
