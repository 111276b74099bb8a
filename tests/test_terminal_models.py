"""Models from a terminal: listed, looked at, downloaded when agreed, refused in a sentence; and drawn with. The hub is one of our own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import STARTER
from tests.hub import COMMIT, TinyHub, files_of
from tests.test_terminal import easel


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyHub]:
    with TinyHub({"ada/small": files_of(STARTER)}, {"license": "apache-2.0"}) as tiny:
        monkeypatch.setenv("HF_ENDPOINT", tiny.endpoint)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield tiny


def test_a_model_is_looked_at_downloaded_listed_and_draws(hub: TinyHub, tmp_path: Path) -> None:
    data = tmp_path / "data"
    looked = easel("models", "look", "ada/small", "--data", str(data), data=data)
    assert looked.returncode == 0, looked.stderr
    assert "small: Stable Diffusion 1, " in looked.stdout
    assert "licence: apache-2.0." in looked.stdout
    assert f"ada/small@{COMMIT}" in looked.stdout
    assert "Memory: 0.2 of " in looked.stdout
    asked = easel("models", "download", "ada/small", "--data", str(data), data=data)
    assert asked.returncode == 1
    assert "Nothing was fetched." in asked.stderr
    assert not (data / "models").exists()
    # The line breaks again and again: it goes on by itself.
    hub.breaks_at = 9_000_000
    done = easel("models", "download", f"ada/small@{COMMIT}", "--yes", "--data", str(data), data=data)
    assert done.returncode == 0, done.stderr
    assert "small is here: python -m engine generate … --model small" in done.stdout
    listed = easel("models", "--data", str(data), data=data)
    assert "(default)" in listed.stdout.splitlines()[0]
    assert f"apache-2.0  ada/small@{COMMIT}" in listed.stdout
    out = tmp_path / "ship.png"
    drawn = easel(
        "generate", "a blue ship", "--model", "small", "--steps", "1", "--width", "64", "--height", "64", "--out", str(out), "--json", data=data
    )
    assert drawn.returncode == 0, drawn.stderr
    assert json.loads(drawn.stdout)["pictures"][0]["recipe"]["model"] == "small"


def test_half_a_download_is_listed_with_the_line_that_goes_on(hub: TinyHub, tmp_path: Path) -> None:
    hub.broken = {"unet/diffusion_pytorch_model-00003-of-00003.safetensors": 403}
    half = easel("models", "download", "ada/small", "--yes", "--data", str(tmp_path), data=tmp_path)
    assert half.returncode == 1
    assert "does not let this machine read ada/small (403)" in half.stderr
    assert "Traceback" not in half.stderr
    listed = easel("models", "--data", str(tmp_path), data=tmp_path)
    assert f"MB are here: python -m engine models download ada/small@{COMMIT}" in listed.stdout
    hub.broken = {}
    assert easel("models", "download", f"ada/small@{COMMIT}", "--yes", "--data", str(tmp_path), data=tmp_path).returncode == 0


def test_what_cannot_be_is_one_sentence(hub: TinyHub, tmp_path: Path) -> None:
    for words, said in (
        (("look",), "models look needs a name"),
        (("look", "../x"), "names nothing on the hub"),
        (("download", "ada/none"), "There is no ada/none"),
    ):
        done = easel("models", *words, "--data", str(tmp_path), data=tmp_path)
        assert done.returncode in (1, 2)
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_the_memory_plan_is_listed_chosen_and_said_beside_the_models(tmp_path: Path) -> None:
    listed = easel("models", "memory", "--data", str(tmp_path), data=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "automatic         Automatic  (chosen)" in listed.stdout
    assert "nf4               Quantised to 4 bits (bitsandbytes)" in listed.stdout
    assert "bitsandbytes is not installed" not in listed.stdout
    chosen = easel("models", "memory", "parts", "--data", str(tmp_path), data=tmp_path)
    assert chosen.stdout.startswith("Memory plan: One part at a time. ")
    models = easel("models", "--data", str(tmp_path), data=tmp_path)
    assert "Memory plan: One part at a time. " in models.stdout
    assert "GB, one part at a time." in models.stdout
    refused = easel("models", "memory", "pieces", "--data", str(tmp_path), data=tmp_path)
    assert refused.returncode == 2
    assert "this device has no memory of its own" in refused.stderr
