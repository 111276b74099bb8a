"""Textual inversion embeddings: words of one's own (Gal et al. 2023), each a few vectors that a model has learned for it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from pydantic import BaseModel, ConfigDict

from engine.contract.errors import InvalidRequest

VECTORS_MAX = 75


class EmbeddingCard(BaseModel):
    """Facts from the header of an embedding's file. `width` is that of the text encoder that it was made for."""

    model_config = ConfigDict(frozen=True)

    name: str
    vectors: int = 0
    width: int | None = None
    bytes_on_disk: int = 0
    content_hash: str = ""
    # Why it cannot be used, in words; None where nothing is known against it.
    refusal: str | None = None


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
