"""LoRA files that people bring: kept whole under a plain name, or refused in a sentence and never there."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save

from engine import Engine, EngineError, Settings
from engine.library import adapter_uploads
from engine.library.loras import BUNDLED_LORAS

GOOD = {"unet.a.attn2.to_k.lora_A.weight": torch.ones(2, 256), "unet.a.attn2.to_k.lora_B.weight": torch.ones(8, 2)}


def file(tensors: dict[str, torch.Tensor] | None = None) -> io.BytesIO:
    return io.BytesIO(save(tensors or GOOD))


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(Settings(data=tmp_path, worker="inline", device="cpu"))


@pytest.mark.parametrize(
    ("name", "kept"),
    [("ink two.safetensors", "ink-two"), ("../../x.SafeTensors", "x"), ("C:\\loras\\mood.v1.safetensors", "mood.v1"), ("ä(1).safetensors", "1")],
)
def test_a_file_is_kept_under_a_plain_name(engine: Engine, name: str, kept: str) -> None:
    card = engine.add_lora(name, file())
    assert (card.name, card.refusal, card.made_for) == (kept, None, "the starter")
    assert [path.name for path in (engine.settings.data / "loras").iterdir()] == [f"{kept}.safetensors"]
    assert kept in [one.name for one in engine.loras()]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.ckpt", file().getvalue(), "no .safetensors file"), ("x.safetensors", b"pickle", "damaged"), ("x.safetensors", b"", "damaged"),
        ("x.safetensors", file().getvalue()[:-1], "damaged"), ("x.safetensors", file().getvalue() + b"x", "damaged"),
        ("x.safetensors", file({"a": torch.ones(2)}).getvalue(), "holds no LoRA"), ("NEON.safetensors", file().getvalue(), "already"),
        ("x.safetensors", file({"lora_unet_a.hada_w1_a": torch.ones(2, 2)}).getvalue(), "LoHa"), ("...safetensors", file().getvalue(), "no .safetensors|no name"),
        ("x.safetensors", file({**GOOD, "b": torch.tensor([1.0, float("nan")])}).getvalue(), "numbers that are none"),
        ("x.safetensors", file({**GOOD, "b": torch.tensor([float("inf")]).bfloat16()}).getvalue(), "numbers that are none"),
        ("x.safetensors", file({**GOOD, "b": torch.tensor([float("nan")]).half()}).getvalue(), "numbers that are none"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_and_leaves_nothing(engine: Engine, name: str, content: bytes, said: str) -> None:
    with pytest.raises(EngineError, match=said) as caught:
        engine.add_lora(name, io.BytesIO(content))
    assert caught.value.field == "loras"
    folder = engine.settings.data / "loras"
    assert not folder.exists() or list(folder.iterdir()) == []


def test_one_that_is_too_large_is_given_up(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_uploads, "BYTES_MAX", 100)
    with pytest.raises(EngineError, match="too large"):
        engine.add_lora("x.safetensors", file())


def test_visitors_of_a_public_studio_ask_first(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be brought"):
        Engine(Settings(data=tmp_path, public=True)).add_lora("x.safetensors", file())
    assert Engine(Settings(data=tmp_path, public=True, visitor_adapters=True)).add_lora("x.safetensors", file()).name == "x"


def test_a_picture_beside_an_adapter_is_shown_small(engine: Engine) -> None:
    engine.add_lora("mine.safetensors", file())
    assert engine.lora_picture("mine") is None
    beside = engine.settings.data / "loras" / "mine.png"
    Image.new("RGB", (600, 300), "red").save(beside)
    shown = engine.lora_picture("mine")
    assert shown is not None
    with Image.open(io.BytesIO(shown)) as image:
        assert (image.size, image.format) == ((128, 128), "JPEG")
    first = next(card for card in engine.loras() if card.name == "mine").picture
    beside.write_bytes(b"<svg onload=alert(1)>")
    assert engine.lora_picture("mine") is None
    assert next(card for card in engine.loras() if card.name == "mine").picture != first


def test_bundled_ones_bring_their_picture(engine: Engine) -> None:
    for path in BUNDLED_LORAS.glob("*.safetensors"):
        assert engine.lora_picture(path.stem) is not None
