"""Textual inversion embeddings: words of one's own (Gal et al. 2023), each a few vectors that a model has learned for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from pydantic import BaseModel, ConfigDict

from engine.contract.errors import InvalidRequest
from engine.contract.models import ModelCard

VECTORS_MAX = 75
# What the tensors of one for SDXL are called, in the order of its encoders.
PAIR = ("clip_l", "clip_g")


class EmbeddingCard(BaseModel):
    """Facts from the header of an embedding's file. `widths` are those of the text encoders that it was made for: two of SDXL, else one."""

    model_config = ConfigDict(frozen=True)

    name: str
    vectors: int = 0
    widths: tuple[int, ...] = ()
    bytes_on_disk: int = 0
    content_hash: str = ""
    # Why it cannot be used, in words; None where nothing is known against it.
    refusal: str | None = None

    def fits(self, model: ModelCard) -> bool:
        """Whether its vectors are as wide as what the text encoders of the model read; also where the model does not say."""
        # The cross-attention of a model with two encoders hears both side by side.
        is_pair = model.family == "sdxl"
        return model.text_width is None or (sum(self.widths) == model.text_width and (len(self.widths) == 2) == is_pair)

    def misfit(self, model: ModelCard) -> str | None:
        """Why it cannot be used with this model, as "it …"; None where it can."""
        return self.refusal if self.refusal is not None or self.fits(model) else f"it was not made for {model.title}."


def learned_shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, int]]:
    """Number and width of the vectors in an embedding's file, by the names of its tensors, an encoder after the other. Empty for a file of something else."""
    names: tuple[str, ...] = ()
    if set(shapes) == set(PAIR):
        names = PAIR
    elif "emb_params" in shapes or len(shapes) == 1:
        names = ("emb_params",) if "emb_params" in shapes else tuple(shapes)
    found: dict[str, tuple[int, int]] = {}
    for name in names:
        if len(shapes[name]) not in (1, 2):
            return {}
        found[name] = (shapes[name][0] if len(shapes[name]) == 2 else 1, shapes[name][-1])
    counts = {count for count, _ in found.values()}
    return found if len(counts) == 1 and 1 <= max(counts) <= VECTORS_MAX and all(width for _, width in found.values()) else {}


def cannot_be_read(name: str, widths: Iterable[int], reads: str) -> str:
    """Why an embedding does not go with a model, in a sentence."""
    return f"The embedding {name} has vectors of {' and '.join(map(str, widths))} numbers and {reads}."


def split_embeddings(text: str, names: Iterable[str], control: str = "prompt") -> list[tuple[str, str | None]]:
    """The text in pieces: words with None, and places where an embedding is named, bare or as `<name>`, with its name.

    Capitals count only where two names differ in nothing else; asked for by neither, they are refused as `InvalidRequest`.
    """
    known = tuple(sorted(names))
    if not known:
        return [(text, None)]
    pieces: list[tuple[str, str | None]] = []
    position = 0
    for found in _pattern(known).finditer(text):
        pieces.append((text[position : found.start()], None))
        pieces.append((found[0], _chosen(found[1] or found[2], known, control)))
        position = found.end()
    pieces.append((text[position:], None))
    return [piece for piece in pieces if piece[0]] or [("", None)]


def named_embeddings(text: str, names: Iterable[str], control: str = "prompt") -> tuple[str, ...]:
    """The embeddings that a prompt names, each once, in order."""
    return tuple(dict.fromkeys(name for _, name in split_embeddings(text, names, control) if name is not None))


@lru_cache(maxsize=64)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    # The longest first: "ink-2" is no "ink". A full stop behind a name ends the sentence, not the name.
    either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"<\s*({either})\s*>|(?<![\w.<:-])({either})(?![\w-]|\.\w)", re.IGNORECASE)


def _chosen(written: str, names: tuple[str, ...], control: str) -> str:
    alike = [name for name in names if name.casefold() == written.casefold()]
    if written in alike or len(alike) == 1:
        return written if written in alike else alike[0]
    raise InvalidRequest(f"{written} may mean the embedding {' or '.join(alike)}.", "Write it with the capitals of its file.", control)
