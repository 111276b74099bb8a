"""What is odd about words while they are being written. Pure; what would be refused is for the resolver to say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from engine.contract.adapters import take_tags
from engine.contract.embeddings import named_embeddings
from engine.contract.errors import InvalidRequest

_ANGLED = re.compile(r"<\s*([A-Za-z0-9._-]{1,64})\s*>")
_SIGN = re.compile(r"<[^<>]{0,200}>|\\.|[()\[\]{}]", re.DOTALL)
_PARTNERS = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True)
class Remark:
    """One sentence about the words. `is_refusal` means that nothing is drawn before it is mended."""

    message: str
    is_refusal: bool = False


def remarks_on(text: str, embeddings: Iterable[str], control: str = "prompt") -> list[Remark]:
    """What is read differently from how it looks: names that nothing has, brackets without a partner, tags out of place."""
    return [*_names(text, tuple(embeddings), control), *_tags(text, control), *_brackets(text)]


def _names(text: str, known: tuple[str, ...], control: str) -> list[Remark]:
    missing: list[str] = []
    for name in dict.fromkeys(_ANGLED.findall(text)):
        try:
            missing += [] if named_embeddings(f"<{name}>", known, control) else [name]
        except InvalidRequest:
            # Two that differ by capitals only: it is here twice, and the resolver asks which.
            continue
    return [Remark(f"There is no embedding named {name} here: <{name}> is read as letters.") for name in missing[:1]]


def _tags(text: str, control: str) -> list[Remark]:
    if control == "prompt":
        return []
    try:
        uses = take_tags(text)[1]
    except InvalidRequest:
        uses = ()
    return [Remark("A LoRA tag works in the prompt only: here it is read as letters.")] if uses else []


def _brackets(text: str) -> list[Remark]:
    """The first bracket that stands alone."""
    still_open: list[str] = []
    for sign in _SIGN.findall(text):
        if sign in "([{":
            still_open.append(sign)
        elif sign in _PARTNERS:
            if _PARTNERS[sign] not in still_open:
                return [Remark(f"The {sign} has no partner and is read as a letter.")]
            # What was opened inside and never closed stands alone.
            alone = still_open[len(still_open) - still_open[::-1].index(_PARTNERS[sign]) :]
            if alone:
                return [_unclosed(alone[0])]
            still_open.pop()
    return [_unclosed(still_open[0])] if still_open else []


def _unclosed(sign: str) -> Remark:
    if sign == "{":
        return Remark("The { has no partner and is read as a letter.")
    return Remark(f"The {sign} has no partner: it counts for everything behind it. Close it, or write \\{sign} for the sign itself.")
