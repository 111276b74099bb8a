"""What was measured of the starter's family, kept in the model's easel.json, where the card finds it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

_KEY = "family_figures"


def keep_figures(model: Path, name: str, figures: dict[str, Any]) -> None:
    """Put the figures of one member beside those of the others."""
    put_fact(model, _KEY, {**figures_of(model), name: figures})


def put_fact(model: Path, name: str, value: Any) -> None:
    """One entry of easel.json, written aside first."""
    path = model / "easel.json"
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    facts[name] = value
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    os.replace(aside, path)


def figures_of(model: Path) -> dict[str, Any]:
    """By member; empty before anything was measured."""
    return json.loads((model / "easel.json").read_text(encoding="utf-8")).get(_KEY, {})
