"""CLIP's vocabulary from its list of merges alone (Radford et al. 2021): single checkpoint files bring text encoders and no tokenizer."""

from __future__ import annotations

import gzip
from functools import lru_cache
from pathlib import Path

CLIP_PAIRS = Path(__file__).resolve().parents[2] / "presets" / "tokenizers" / "clip" / "merges.txt.gz"
START, END = "<|startoftext|>", "<|endoftext|>"
# Tokens that it reads at once, start and end included.
CLIP_ROOM = 77
_WORD_END = "</w>"


@lru_cache(maxsize=1)
def clip_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Ids by token, 49 408 of them, and the merges in their order."""
    with gzip.open(CLIP_PAIRS, "rt", encoding="utf-8") as file:
        merges = [(first, second) for first, _, second in (line.rstrip("\n").partition(" ") for line in file)]
    letters = _letters()
    tokens = [*letters, *(letter + _WORD_END for letter in letters), *(first + second for first, second in merges), START, END]
    return {token: number for number, token in enumerate(tokens)}, merges


def _letters() -> list[str]:
    """A printable letter for each of the 256 bytes: those that print stand for themselves and come first."""
    printing = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printing] + [chr(256 + number) for number in range(256 - len(printing))]
