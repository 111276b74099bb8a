"""Training on a tiny scale: the loss falls, a resumed run is the same run, the encoder is exact, the bundle is whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from engine.starter import unet as unet_module
from engine.starter.autoencoder import SCALING, PatchBasis, build_autoencoder, fit_basis, psnr
from engine.starter.checkpoints import check_checkpoint
from engine.starter.dataset import draw_dataset, load_dataset
from engine.starter.text_encoder import build_text_encoder, tokenize
from engine.starter.train import main, make_latents
from engine.starter.unet import UnetPlan, train_unet
from tests.conftest import STARTER


@pytest.fixture(scope="module")
def tiny_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few scenes, their latents, the bundled tokenizer and an untrained text encoder."""
    work = tmp_path_factory.mktemp("starter")
    draw_dataset(work, count=24, seed=1, workers=2)
    make_latents(work, sizes=[64])
    tokenizer = CLIPTokenizer.from_pretrained(STARTER / "tokenizer")
    tokenizer.save_pretrained(work / "tokenizer")
    torch.manual_seed(0)
    build_text_encoder(tokenizer, layers=1).save_pretrained(work / "text_encoder")
    return work


def plan(steps: int) -> UnetPlan:
    return UnetPlan(size=64, batch=4, learning_rate=2e-3, steps=steps, cooldown=1e-9, compiled=False)


def small_unet(monkeypatch: pytest.MonkeyPatch) -> None:
    build = unet_module.build_unet
    monkeypatch.setattr(unet_module, "build_unet", lambda: build((32, 32, 32, 32)))


def test_the_loss_falls(tiny_work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_unet(monkeypatch)
    train_unet(tiny_work, plan(150), start_from=None)
    losses = [json.loads(line)["loss"] for line in (tiny_work / "curve.jsonl").read_text().splitlines()]
    print("mean loss after 50, 100, 150 steps:", losses)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.95 * losses[0]


def test_a_resumed_run_is_the_same_run(tiny_work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_unet(monkeypatch)
    target = tiny_work / "unet-64.pt"
    target.unlink(missing_ok=True)
    train_unet(tiny_work, plan(10), start_from=None)
    whole = torch.load(target, weights_only=True)
    target.unlink()
    train_unet(tiny_work, replace(plan(10), steps=4), start_from=None)
    train_unet(tiny_work, plan(10), start_from=None)
    resumed = torch.load(target, weights_only=True)
    assert resumed["step"] == whole["step"] == 10
    for name in ("weights", "average"):
        assert torch.equal(resumed[name], whole[name]), name


@pytest.mark.parametrize("damage", ["cut", "flipped", "no checkpoint"])
def test_a_damaged_checkpoint_is_said_in_words(tiny_work: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    folder = tiny_work / damage
    folder.mkdir()
    path = folder / "unet-256.pt"
    torch.save({"weights": torch.arange(1000.0)}, path)
    check_checkpoint(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"cut": content[:-300], "flipped": content, "no checkpoint": b"words"}[damage])
    assert main(["--recipe", "starter-v2", "--stage", "unet", "--work", str(folder), "--processes", "1"]) == 1
    said = capsys.readouterr().err
    assert "The checkpoint unet-256.pt" in said
    assert "Delete it" in said


def test_a_checkpoint_survives_a_full_disk(tiny_work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    small_unet(monkeypatch)
    target = tiny_work / "unet-64.pt"
    target.unlink(missing_ok=True)
    train_unet(tiny_work, plan(2), start_from=None)
    before = target.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    train_unet(tiny_work, plan(4), start_from=None)
    assert target.read_bytes() == before
    assert "is kept" in capsys.readouterr().out


def test_the_encoder_holds_the_basis_exactly(tiny_work: Path) -> None:
    images, _, _ = load_dataset(tiny_work)
    some = np.asarray(images[:3])
    basis = fit_basis(np.asarray(images))
    vae = build_autoencoder(basis)
    pixels = torch.from_numpy(some.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        ours = vae.encoder(pixels) * SCALING
    assert float((ours - torch.from_numpy(basis.encode(some))).abs().max()) < 1e-3
    basis.save(tiny_work / "again.npz")
    assert np.array_equal(PatchBasis.load(tiny_work / "again.npz").down, basis.down)


def test_the_bundled_autoencoder_keeps_pictures(tiny_work: Path) -> None:
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    images, _, degraded = load_dataset(tiny_work)
    fresh = np.asarray(images)[~degraded][:8]
    quality = psnr(AutoencoderTiny.from_pretrained(STARTER / "vae", torch_dtype=torch.float32).eval(), fresh)
    print(f"{quality:.2f} dB on fresh scenes")
    assert quality >= 28


def test_the_vocabulary_takes_any_script() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(STARTER / "tokenizer")
    assert tokenizer.model_max_length == 77
    for text in ("A red castle", "żółw 城堡 🏰", "qwertzuiop", "\x00"):
        ids = tokenize(tokenizer, [text])
        assert ids.shape == (1, 77)
        assert int(ids.max()) < len(tokenizer)
    encoder = CLIPTextModel.from_pretrained(STARTER / "text_encoder")
    assert encoder.config.vocab_size == len(tokenizer)


def test_the_bundle_is_small() -> None:
    sizes = [path.stat().st_size for path in STARTER.rglob("*.safetensors")]
    print(f"{sum(sizes) / 1e6:.1f} MB of weights, largest file {max(sizes) / 1e6:.1f} MB")
    assert sum(sizes) <= 37.6e6
    assert max(sizes) <= 15e6
