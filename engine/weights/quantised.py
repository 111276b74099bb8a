"""How the weights of a folder's part were quantised before they were saved: what its `config.json` says, and whether Easel reads that."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.contract.memory_plans import PACKAGES, install_line

_HINT = "Get the model whole, and let Easel quantise it under Models; or its denoiser as a .gguf file."


def is_in_four_bits(part: Path) -> bool:
    """Whether the weights of this folder lie in the 4 bits (nf4) of bitsandbytes."""
    return _said(part).get("bnb_4bit_quant_type") == "nf4" and _method(part) == "bitsandbytes 4-bit"


def quantised_problem(part: Path) -> tuple[str, str] | None:
    """Why weights that were quantised so cannot be used here, to follow the name of the part, and what to do; None where they can."""
    if not _said(part):
        return None
    if not is_in_four_bits(part):
        return f"is quantised in a way that Easel does not read ({_method(part)})", _HINT
    package = PACKAGES["nf4"]
    if find_spec(package) is None:
        return (
            f"is quantised to 4 bits, and the package {package} is not installed here",
            f"Whoever runs this studio can add it: {install_line(package)}.",
        )
    return None


def _method(part: Path) -> str:
    said = _said(part)
    name = str(said.get("quant_method", "unknown"))[:40]
    if name != "bitsandbytes":
        return name
    kind = str(said.get("bnb_4bit_quant_type", ""))[:10]
    return f"bitsandbytes {'4-bit' if said.get('load_in_4bit') else '8-bit'}{'' if kind in ('', 'nf4') else f' {kind}'}"


def _said(part: Path) -> dict[str, Any]:
    try:
        found = json.loads((part / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    said = found.get("quantization_config") if isinstance(found, dict) else None
    return said if isinstance(said, dict) else {}
