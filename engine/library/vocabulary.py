"""How a model's tokenizer reads a prompt, without loading the model: for the counter beside the prompt."""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.contract.chunks import Counted, lay_out
from engine.contract.embeddings import EmbeddingCard, named_embeddings
from engine.contract.errors import InvalidRequest
from engine.contract.requests import PROMPT_MAX
from engine.contract.wildcards import fill_in, parse_template
from engine.contract.words import parse_timeline, parse_weights, words_at
from engine.weights.byte_pairs import CLIP_PAIRS, CLIP_ROOM, END, clip_pairs
from engine.weights.single_files import tokenizer_places

# Steps over which changing words are looked at.
_STEPS = 20
_UNKNOWN_MAX = 20
_WORD = re.compile(r"[^\W\d_]+")
# A vocabulary of this size has the pieces of every word that anybody writes; only what it spells out is new to it.
_LARGE = 8_000
# "a", "of", "in" say nothing about whether a prompt is understood.
_MEANS_FROM = 3
_ANGLED = re.compile(r"<\s*([A-Za-z0-9._-]{1,64})\s*>")


def count_words(
    prompt: str, folder: Path, cards: Iterable[EmbeddingCard], *, lists: Callable[[str, str], Sequence[str]], control: str = "prompt"
) -> tuple[Counted, ...]:
    """One count for each tokenizer of a model. Wildcards are counted in one of their fillings."""
    sizes = {card.name: card.vectors for card in cards if card.refusal is None}
    texts = _said(prompt[: PROMPT_MAX + 1], lists, control)
    counted: list[Counted] = []
    for name, place in tokenizer_places(folder):
        if (stamp := _stamp(place)) is not None:
            counted.append(_count(texts, prompt, name, _positions(place), _tokenizer(str(place), stamp), sizes, control))
    return tuple(counted)


def _said(prompt: str, lists: Callable[[str, str], Sequence[str]], control: str) -> list[str]:
    """The prompt in each of its steps, every text once. One that cannot be filled in is counted as it stands."""
    with contextlib.suppress(InvalidRequest):
        prompt = fill_in(parse_template(prompt, control), seed=0, lists=lambda name: lists(name, control), control=control)
    timeline = parse_timeline(prompt)
    return list(dict.fromkeys(words_at(timeline, step, _STEPS) for step in range(_STEPS)))


def _count(texts: list[str], prompt: str, name: str, positions: int, tokenizer: Any, sizes: dict[str, int], control: str) -> Counted:
    def tokenize(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    room = positions - 2
    laid = [lay_out(parse_weights(text), tokenize, room=room, embeddings=sizes) for text in texts]
    longest = max(laid, key=lambda runs: (len(runs), sum(map(len, runs))))
    named = tuple(dict.fromkeys(name for text in texts for name in named_embeddings(text, sizes, control)))
    missing = [f"<{name}>" for name in _ANGLED.findall(prompt) if not named_embeddings(name, sizes, control)]
    is_large = tokenizer.get_vocab_size() > _LARGE
    words = {word: len(tokenize(word)) for text in texts for word in _words(_without(text, named))}
    spelled = [word for word, pieces in words.items() if pieces > 1 and (not is_large or pieces * 2 > len(word))]
    return Counted(
        encoder=name,
        tokens=sum(map(len, longest)),
        chunks=len(longest),
        room=room,
        unknown=tuple(dict.fromkeys([*missing, *spelled]))[:_UNKNOWN_MAX],
        embeddings=named,
        last=len(longest[-1]) if longest else 0,
        unknown_share=_share(list(words), set(spelled)),
    )


def _words(text: str) -> list[str]:
    """Words, and signs such as emoji, which an encoder reads as words too."""
    return [*_WORD.findall(text), *(sign for sign in text if unicodedata.category(sign) == "So")]


def _share(words: list[str], unknown: set[str]) -> float:
    heavy = [word for word in words if len(word) >= _MEANS_FROM] or words
    return sum(word in unknown for word in heavy) / len(heavy) if heavy else 0.0


def _without(text: str, names: tuple[str, ...]) -> str:
    for name in names:
        text = re.sub(re.escape(name), " ", text, flags=re.IGNORECASE)
    return re.sub(r"\bBREAK\b", " ", _ANGLED.sub(" ", text))


def _positions(place: Path) -> int:
    try:
        found = json.loads((place / "tokenizer_config.json").read_text(encoding="utf-8"))["model_max_length"]
    except (OSError, ValueError, KeyError, TypeError):
        return CLIP_ROOM
    return found if isinstance(found, int) and 2 < found <= 4096 else CLIP_ROOM


def _stamp(place: Path) -> int | None:
    """When the tokenizer last changed; None where this is none that can be read here."""
    files = [path for name in ("tokenizer.json", "vocab.json", "merges.txt", CLIP_PAIRS.name) if (path := place / name).is_file()]
    is_whole = any(path.name in ("tokenizer.json", CLIP_PAIRS.name) for path in files) or len(files) == 2
    return max(path.stat().st_mtime_ns for path in files) if is_whole else None


@lru_cache(maxsize=8)
def _tokenizer(name: str, _stamp: int) -> Any:
    # Here, so that the page starts without it.
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    place = Path(name)
    if (place / "tokenizer.json").is_file():
        tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
    # Older folders hold CLIP's byte pairs as two files; its way of splitting words is the same for all of them.
    options: dict[str, Any] = {"end_of_word_suffix": "</w>", "unk_token": END}
    is_ours = place == CLIP_PAIRS.parent
    pairs: Any = (
        models.BPE(*clip_pairs(), **options) if is_ours else models.BPE.from_file(str(place / "vocab.json"), str(place / "merges.txt"), **options)
    )
    tokenizer = Tokenizer(pairs)
    words = Regex(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    normalizer: Any = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    splitter: Any = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    return tokenizer
