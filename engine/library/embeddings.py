"""Embedding files on disk: the bundled ones and those in `data/embeddings`, found at every look, judged by their header, never loaded here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.contract.embeddings import VECTORS_MAX, EmbeddingCard, cannot_be_read, learned_shapes, named_embeddings
from engine.contract.errors import IncompatibleAdapter, ModelNotFound
from engine.contract.models import ModelCard
from engine.library.safe_path import name_problem
from engine.weights.headers import read_header

BUNDLED_EMBEDDINGS = Path(__file__).resolve().parents[2] / "presets" / "embeddings"
_PICKLES = (".pt", ".bin", ".ckpt", ".pth")


class Embeddings:
    """The stem of a file is the word that stands for it."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)

    def cards(self) -> list[EmbeddingCard]:
        """By name. What cannot be used has a card that says so."""
        found: dict[str, EmbeddingCard] = {}
        for path in self._files():
            if path.stem not in found or found[path.stem].refusal:
                stat = path.stat()
                found[path.stem] = _card(str(path), stat.st_size, stat.st_mtime_ns)
        return [found[name] for name in sorted(found)]

    def path(self, name: str) -> Path:
        """The file of an embedding. Raises `ModelNotFound`; a name is only ever compared, never joined to a path."""
        for path in self._files():
            if path.stem == name and path.suffix == ".safetensors":
                return path
        raise ModelNotFound(f"The embedding {name[:64]} is not here any more.", "Take it out of the prompt, or put its file back.", "prompt")

    def resolve(self, texts: Mapping[str, Iterable[str]], model: ModelCard) -> dict[str, str]:
        """Hashes by name of the embeddings that the texts of each control name. Raises `IncompatibleAdapter` or `InvalidRequest`."""
        cards = {card.name: card for card in self.cards()}
        used: dict[str, str] = {}
        for control, several in texts.items():
            for name in {name for text in several for name in named_embeddings(text, cards, control)}:
                _check_fit(cards[name], model, control)
                used[name] = cards[name].content_hash
        return used

    def _files(self) -> list[Path]:
        files = [path for root in self._roots if root.is_dir() for path in sorted(root.iterdir())]
        return [path for path in files if path.suffix in (".safetensors", *_PICKLES) and path.is_file()]


def _check_fit(card: EmbeddingCard, model: ModelCard, control: str) -> None:
    if card.refusal is not None:
        raise IncompatibleAdapter(f"The embedding {card.name} cannot be used: {card.refusal}", "Take it out of the prompt.", control)
    if not card.fits(model):
        reads = f"{model.title} reads {model.text_width}" + (" in two text encoders" if model.family == "sdxl" else "")
        hint = "Take it out, or choose a model of the family that it was made for."
        raise IncompatibleAdapter(cannot_be_read(card.name, card.widths, reads), hint, control)


@lru_cache(maxsize=256)
def _card(name: str, size: int, _mtime: int) -> EmbeddingCard:
    path = Path(name)
    if (unnamed := name_problem(path.stem)) is not None:
        return EmbeddingCard(name=path.stem, bytes_on_disk=size, refusal=unnamed)
    if path.suffix in _PICKLES:
        return EmbeddingCard(name=path.stem, bytes_on_disk=size, refusal="its file is a pickle, which can run programs; convert it to safetensors.")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    known: dict[str, Any] = {"name": path.stem, "bytes_on_disk": size, "content_hash": digest}
    header = read_header(path)
    if header is None:
        return EmbeddingCard(**known, refusal="its file is damaged or no safetensors file.")
    shapes = learned_shapes(header.shapes)
    if not shapes:
        return EmbeddingCard(**known, refusal=f"it holds no list of 1 to {VECTORS_MAX} vectors.")
    return EmbeddingCard(**known, vectors=next(iter(shapes.values()))[0], widths=tuple(width for _, width in shapes.values()))
