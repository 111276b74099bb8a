"""What a prompt says: weights, passages, and words that change on the way. AUTOMATIC1111's grammar; pure, and never an exception.

    (x)  ×1.1    ((x))  ×1.21    (x:1.3)  ×1.3    [x]  ÷1.1    \\( \\) \\[ \\] \\\\ \\{ \\} \\_  the sign itself
    a BREAK b        b begins a new chunk
    [a:b:0.5]        a for the first half of the steps, then b; [a:b:8] a for the first 8 steps
    [b:0.5] [a::0.5] b from then on; a until then
    [a|b|c]          a, b, c, a … from step to step

Words that change are settled first, then weights are read in what is left. A bracket without its partner is a letter
among letters where words change; among weights `(` and `[` then hold to the end and `)` and `]` are letters. Steps are
those that are walked: a source picture that shortens the walk shortens the schedule with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

from engine.contract.errors import InvalidRequest

EMPHASIS = 1.1
WEIGHT_MAX = 100.0
# Brackets nested deeper than this are read, but add nothing.
NESTING_MAX = 32
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"
_TIMED = re.compile(r"\\.|[()\[\]:|]|[^\\()\[\]:|]+|\\", re.DOTALL)
_WEIGHED = re.compile(rf"\\[()\[\]\\{{}}_]|[()\[\]]|:\s*({_NUMBER})\s*\)|[^\\()\[\]:]+|[\\:]")
_WHEN = re.compile(rf"\s*({_NUMBER}(?:[eE][+-]?\d+)?)\s*")
_BREAK = re.compile(r"\bBREAK\b")


@dataclass(frozen=True)
class Weighted:
    """Words and how much they count; 1 is as ever."""

    text: str
    weight: float


Passage = tuple[Weighted, ...]


@dataclass(frozen=True)
class Switch:
    """`before` for the first `when` steps, then `after`. `is_share` means that `when` is a share of all steps."""

    before: Timeline
    after: Timeline
    when: float
    is_share: bool

    def at(self, step: int, steps: int) -> Timeline:
        # The small addend: 0.7 × 10 is 7.000000000000001 and 0.29 × 100 is 28.999999999999996.
        limit = self.when * steps + 1e-9 if self.is_share else self.when
        return self.before if step < int(min(max(limit, 0), steps)) else self.after


@dataclass(frozen=True)
class Alternate:
    """One of the options in turn."""

    options: tuple[Timeline, ...]

    def at(self, step: int, _steps: int) -> Timeline:
        return self.options[step % len(self.options)]


Timeline = tuple[str | Switch | Alternate, ...]


@dataclass
class _Open:
    """A bracket that waits for its partner: where it stands, its own `:` and `|`, and how deep it is already."""

    sign: str
    start: int
    marks: list[int] = field(default_factory=list)
    depth: int = 0


def parse_timeline(text: str) -> Timeline:
    """The prompt with its changes over the steps. Linear in the length; without any, one string that equals the text."""
    parts: list[str | Switch | Alternate] = []
    stack: list[_Open] = []
    for sign in _TIMED.findall(text):
        if sign in ("(", "["):
            stack.append(_Open(sign, len(parts)))
        elif sign in (")", "]"):
            if not stack or stack[-1].sign + sign not in ("()", "[]"):
                # Whatever is still open encloses a bracket without a partner, and is none itself.
                stack.clear()
            else:
                closed = stack.pop()
                node = _node(parts, closed) if sign == "]" and closed.depth < NESTING_MAX else None
                if stack:
                    stack[-1].depth = max(stack[-1].depth, closed.depth + (node is not None))
                if node is not None:
                    parts[closed.start :] = [node]
                    continue
        elif sign in (":", "|") and stack:
            stack[-1].marks.append(len(parts))
        parts.append(sign)
    return _joined(parts)


def words_at(timeline: Timeline, step: int, steps: int) -> str:
    """The prompt of step `step` (from 0) of `steps`."""
    return "".join(part if isinstance(part, str) else words_at(part.at(step, steps), step, steps) for part in timeline)


def _node(parts: list[str | Switch | Alternate], closed: _Open) -> Switch | Alternate | None:
    """What the brackets mean; None where they only weigh."""
    marks = closed.marks
    signs = {parts[mark] for mark in marks}
    edges = [closed.start, *marks, len(parts)]
    if signs == {"|"}:
        return Alternate(tuple(_joined(parts[a + 1 : b]) for a, b in pairwise(edges)))
    last = parts[marks[-1] + 1 :] if signs == {":"} and len(marks) <= 2 else []
    found = _WHEN.fullmatch(last[0]) if len(last) == 1 and isinstance(last[0], str) else None
    if found is None:
        return None
    before = parts[edges[0] + 1 : edges[1]] if len(marks) == 2 else []
    after = parts[edges[-3] + 1 : edges[-2]]
    when = float(found[1])
    return Switch(_joined(before), _joined(after), when, is_share="." in found[1] or when < 1)


def _joined(parts: list[str | Switch | Alternate]) -> Timeline:
    whole: list[str | Switch | Alternate] = []
    letters: list[str] = []
    for part in parts:
        if isinstance(part, str):
            letters.append(part)
            continue
        if letters:
            whole.append("".join(letters))
            letters = []
        whole.append(part)
    return (*whole, "".join(letters)) if letters or not whole else tuple(whole)


def parse_weights(text: str) -> tuple[Passage, ...]:
    """Passages, which BREAK parts, of words with their weights. Neighbours of one weight are one piece."""
    pieces: list[list[str | float]] = []
    round_open: list[int] = []
    square_open: list[int] = []
    for found in _WEIGHED.finditer(text):
        sign, weight = found[0], found[1]
        if sign in ("(", "["):
            stack = round_open if sign == "(" else square_open
            stack.append(len(pieces) if len(stack) < NESTING_MAX else -1)
        elif weight is not None and round_open:
            _multiply(pieces, round_open.pop(), float(weight))
        elif sign == ")" and round_open:
            _multiply(pieces, round_open.pop(), EMPHASIS)
        elif sign == "]" and square_open:
            _multiply(pieces, square_open.pop(), 1 / EMPHASIS)
        elif sign[0] == "\\" and len(sign) == 2:
            pieces.append([sign[1], 1.0])
        else:
            pieces.extend(_between_breaks(sign))
    for start in round_open:
        _multiply(pieces, start, EMPHASIS)
    for start in square_open:
        _multiply(pieces, start, 1 / EMPHASIS)
    return _passages(pieces)


def check_words(text: str, field: str) -> None:
    """Raises `InvalidRequest` for a weight that no picture survives."""
    for piece in (one for passage in parse_weights(text) for one in passage):
        if not abs(piece.weight) <= WEIGHT_MAX:
            control = "negative prompt" if field == "negative_prompt" else "prompt"
            message = f"A weight in the {control} is beyond {WEIGHT_MAX:g}."
            raise InvalidRequest(message, "Most pictures want 0.5 to 1.5, written (word:1.2).", field)


def _multiply(pieces: list[list[str | float]], start: int, factor: float) -> None:
    # Each piece lies in at most twice NESTING_MAX brackets that count, so this stays linear over all.
    for piece in pieces[start:] if start >= 0 else ():
        piece[1] = float(piece[1]) * factor


def _between_breaks(text: str) -> list[list[str | float]]:
    """Words, with an empty piece of weight NaN for each BREAK."""
    first, *others = _BREAK.split(text)
    pieces: list[list[str | float]] = [[first.rstrip() if others else first, 1.0]]
    for number, other in enumerate(others, start=1):
        pieces.append(["", float("nan")])
        pieces.append([other.strip() if number < len(others) else other.lstrip(), 1.0])
    return pieces


def _passages(pieces: list[list[str | float]]) -> tuple[Passage, ...]:
    passages: list[list[Weighted]] = [[]]
    texts: list[str] = []
    current = 1.0

    def flush() -> None:
        if words := "".join(texts):
            passages[-1].append(Weighted(words, current))
        texts.clear()

    for piece in pieces:
        text, weight = str(piece[0]), float(piece[1])
        if weight != weight:
            flush()
            passages.append([])
        elif text:
            if weight != current:
                flush()
                current = weight
            texts.append(text)
    flush()
    if len(passages) > 1 and not passages[-1]:
        passages.pop()
    return tuple(tuple(passage) for passage in passages)
