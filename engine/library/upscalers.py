"""Enlarging models on disk: single safetensors files, bundled or dropped into `data/upscalers`, and two that need none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from engine.contract.errors import ModelNotFound
from engine.contract.results import UpscalerCard
from engine.weights.headers import read_header

BUNDLED_UPSCALERS = Path(__file__).resolve().parents[2] / "presets" / "upscalers"
# Named by what they do; they are part of the code, so the version of the recipe is their hash.
BUILT_IN = (
    UpscalerCard(name="latent", title="Latent: soft, lets the model invent detail", content_hash="built-in-1"),
    UpscalerCard(name="lanczos", title="Plain: sharp filter, invents nothing", content_hash="built-in-1"),
)


class Upscalers:
    """Files are found at every look, so one that is dropped in is there without a restart."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)

    def cards(self) -> list[UpscalerCard]:
        """Models first, by name, then what needs no model."""
        found: dict[str, UpscalerCard] = {}
        for root in self._roots:
            for path in sorted(root.glob("*.safetensors")):
                found.setdefault(path.stem, _card(path))
        return [*found.values(), *BUILT_IN]

    def card(self, name: str | None) -> UpscalerCard:
        """The card of `name`, or of the first one. Raises `ModelNotFound`."""
        cards = self.cards()
        if name is None:
            return cards[0]
        for card in cards:
            if card.name == name:
                return card
        raise ModelNotFound(f"There is no upscaler named {name} here.", "Choose one from the list.", "upscaler")

    def path(self, name: str) -> Path | None:
        """The file of an upscaler; None for one that needs none."""
        for root in self._roots:
            if (path := root / f"{self.card(name).name}.safetensors").is_file():
                return path
        return None


def _card(path: Path) -> UpscalerCard:
    # A damaged one says so when it is loaded.
    own = header.words if (header := read_header(path)) else {}
    scale = own.get("scale", "")
    return UpscalerCard(
        name=path.stem,
        title=own.get("title", path.stem)[:120],
        content_hash=_hash(str(path), path.stat().st_size, path.stat().st_mtime_ns),
        scale=int(scale) if scale.isdigit() else None,
    )


@lru_cache(maxsize=64)
def _hash(name: str, _size: int, _mtime: int) -> str:
    with Path(name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
