"""LoRA files from the hub, from a terminal: shown first, fetched when agreed, refused in a sentence. The hub is one of our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hub import COMMIT, TinyHub
from tests.test_terminal import easel

# A real one: what is fetched has to draw.
NEON = (Path(__file__).resolve().parents[1] / "presets" / "loras" / "neon.safetensors").read_bytes()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    files = {"glow.safetensors": NEON}
    with TinyHub({"ada/glow": files, "ada/two": {**files, "b.safetensors": NEON}}, {"license": "apache-2.0"}) as tiny:
        monkeypatch.setenv("HF_ENDPOINT", tiny.endpoint)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield tiny


def test_a_hub_id_is_shown_agreed_to_fetched_and_draws(hub: TinyHub, tmp_path: Path) -> None:
    data = tmp_path / "data"
    asked = easel("fetch-lora", "ada/glow", "--data", str(data), data=data)
    assert asked.returncode == 1
    assert f"glow.safetensors of ada/glow at {COMMIT[:12]}: {len(NEON) / 1e6:.1f} MB, licence: apache-2.0." in asked.stdout
    assert "Nothing was fetched." in asked.stderr
    assert hub.ranges() == []
    done = easel("fetch-lora", "ada/glow", "--yes", "--data", str(data), data=data)
    assert done.returncode == 0, done.stderr
    assert "glow is in the rack: --lora glow:0.8" in done.stdout
    out = tmp_path / "ship.png"
    words = ("generate", "a blue ship", "--steps", "1", "--width", "64", "--height", "64", "--out", str(out), "--json")
    drawn = easel(*words, "--lora", "glow:0.8", data=data)
    assert drawn.returncode == 0, drawn.stderr
    assert json.loads(drawn.stdout)["pictures"][0]["recipe"]["loras"][0]["name"] == "glow"


def test_several_files_are_listed_and_a_broken_line_is_gone_on_with(hub: TinyHub, tmp_path: Path) -> None:
    data = ("--yes", "--data", str(tmp_path))
    several = easel("fetch-lora", "ada/two", *data, data=tmp_path)
    assert several.returncode == 1
    assert "ada/two/b.safetensors" in several.stdout
    hub.breaks_at = 100_000
    broken = easel("fetch-lora", "ada/two/b.safetensors", *data, data=tmp_path)
    assert broken.returncode == 1
    assert "the next try goes on from there" in broken.stderr
    assert list((tmp_path / "loras").glob("*.safetensors")) == []
    hub.breaks_at = None
    whole = easel("fetch-lora", "ada/two/b.safetensors", *data, data=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert hub.ranges()[1].startswith("bytes=")
    assert (tmp_path / "loras" / "b.safetensors").read_bytes() == NEON


def test_what_cannot_be_is_one_sentence(hub: TinyHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(name: str) -> str:
        done = easel("fetch-lora", name, "--yes", "--data", str(tmp_path), data=tmp_path)
        assert done.returncode in (1, 2)
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "names nothing on the hub" in said("../../etc/passwd")
    assert "There is no ada/none on the hub" in said("ada/none")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "set to work offline" in said("ada/glow")
