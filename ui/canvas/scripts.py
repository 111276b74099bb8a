"""Scripts of the page's own components."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def card_script(name: str) -> str:
    """`name`.js with what all cards share before it: a component runs one script, which sees no other."""
    return "".join((_HERE / f"{one}.js").read_text(encoding="utf-8") for one in ("slot", name))
