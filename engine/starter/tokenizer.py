"""The starter's own vocabulary: byte-level BPE in CLIP's form, learned from captions, never without a token for any script."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from transformers import CLIPTokenizer

from engine.starter.attributes import random_labels
from engine.starter.captions import DEGRADED_WORDS, FILLERS, SYNONYMS, caption

POSITIONS = 77
_MERGES = 950
_END = "</w>"
_GENERAL = [
    "and",
    "with",
    "of",
    "the",
    "a",
    "an",
    "in",
    "on",
    "at",
    "by",
    "to",
    "from",
    "under",
    "over",
    "near",
    "above",
    "behind",
    "before",
    "beside",
    "between",
    "very",
    "big",
    "small",
    "old",
    "new",
    "dark",
    "bright",
    "light",
    "golden",
    "ancient",
    "magical",
    "futuristic",
    "fantasy",
    "background",
    "sky",
    "water",
    "mountain",
    "sun",
    "moon",
    "star",
    "stars",
    "cloud",
    "clouds",
    "snow",
    "rain",
    "storm",
    "fire",
    "stone",
    "wooden",
    "river",
    "lake",
    "beach",
    "island",
    "field",
    "road",
    "bridge",
    "garden",
    "flowers",
    "dragon",
    "horse",
    "dog",
    "cat",
    "man",
    "woman",
    "person",
    "people",
    "portrait",
    "black",
    "brown",
    "grey",
    "gray",
    "colorful",
    "style",
    "art",
    "drawing",
    "sketch",
    "photo",
    "realistic",
    "render",
    "high",
    "quality",
    "low",
    "bad",
    "best",
    "two",
    "three",
    "many",
    "group",
    "of",
    "far",
    "away",
    "close",
    "up",
]


def build_tokenizer(folder: Path, *, seed: int = 7, captions: int = 20_000) -> CLIPTokenizer:
    """Learn the vocabulary and save it to `folder` in the layout that `CLIPTokenizer.from_pretrained` reads."""
    words = _count_words(captions, seed)
    merges = _learn_merges(words, _MERGES)
    alphabet = sorted(_byte_letters().values())
    tokens = [*alphabet, *(letter + _END for letter in alphabet), *("".join(pair) for pair in merges), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    # transformers takes pairs here, whatever its annotation says.
    pairs: Any = merges
    tokenizer = CLIPTokenizer(vocab=vocab, merges=pairs, model_max_length=POSITIONS)
    tokenizer.save_pretrained(folder)
    return tokenizer


def _count_words(captions: int, seed: int) -> Counter[str]:
    rng = np.random.default_rng(seed)
    words: Counter[str] = Counter()
    for _ in range(captions):
        words.update(caption(random_labels(rng), rng).lower().replace(",", " , ").split())
    for phrase in (*FILLERS, *DEGRADED_WORDS, *(w for options in SYNONYMS.values() for w in options)):
        words.update(dict.fromkeys(phrase.split(), 40))
    words.update(dict.fromkeys(_GENERAL, 30))
    return words


def _learn_merges(words: Counter[str], count: int) -> list[tuple[str, str]]:
    """Byte-pair encoding (Sennrich et al. 2016), ties broken by spelling so that the result is the same everywhere."""
    letters = _byte_letters()
    pieces = {word: [*(letters[b] for b in word.encode()[:-1]), letters[word.encode()[-1]] + _END] for word in words}
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in pieces.items():
            for pair in itertools.pairwise(parts):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for parts in pieces.values():
            _merge(parts, best)
    return merges


def _merge(parts: list[str], pair: tuple[str, str]) -> None:
    at = 0
    while at < len(parts) - 1:
        if (parts[at], parts[at + 1]) == pair:
            parts[at : at + 2] = ["".join(pair)]
        at += 1


def _byte_letters() -> dict[int, str]:
    """A printable letter for each byte, as GPT-2 chose them: CLIP's pre-tokeniser uses the same."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}
