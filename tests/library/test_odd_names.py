"""A file that nothing could name stands on its shelf all the same, and says what to do: nothing that somebody put there goes unseen."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine import Engine, Settings

PRESETS = Path(__file__).parents[2] / "presets"
ODD = ["Dream Painter (v2)", "рисунок", "a" * 80]
SHELVES: dict[str, Callable[[Engine], list[tuple[str, str | None]]]] = {
    "models": lambda engine: [(card.name, card.refusal) for card in engine.models()],
    "loras": lambda engine: [(card.name, card.refusal) for card in engine.loras()],
    "vaes": lambda engine: [(card.name, card.refusal) for card in engine.vaes()],
    "embeddings": lambda engine: [(card.name, card.refusal) for card in engine.embeddings()],
    "ip_adapters": lambda engine: [(card.name, card.refusal) for card in engine.reference_adapters()],
    "controlnets": lambda engine: [(card.name, card.problem) for card in engine.controls.cards()],
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("shelf", SHELVES)
def test_it_is_shown_with_what_to_do(tmp_path: Path, shelf: str, name: str) -> None:
    place = tmp_path / shelf
    place.mkdir(parents=True)
    example = next((path for path in sorted((PRESETS / shelf).glob("*.safetensors"))), None) if (PRESETS / shelf).is_dir() else None
    if example is None:
        save_file({"one": torch.zeros(1)}, place / f"{name}.safetensors")
    else:
        shutil.copy(example, place / f"{name}.safetensors")
    engine = Engine(Settings(data=tmp_path, worker="inline"))
    try:
        said = dict(SHELVES[shelf](engine))
    finally:
        engine.close()
    refusal = said.get(f"{name}.safetensors" if shelf == "models" else name)
    assert refusal is not None
    assert "nothing can name it. Rename it to at most 64 letters, digits, dots, dashes and underscores" in refusal
    if name == ODD[0]:
        assert "for example Dream-Painter-v2" in refusal
