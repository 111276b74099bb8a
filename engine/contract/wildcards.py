"""Words left to chance: `{a|b|2::c}` and `__list__`, filled in once, before a job is accepted. Pure: the seed decides.

Options may hold further choices, and lines of a list other lists. `2::` makes an option twice as likely. A backslash
keeps `\\{`, `\\}` and `\\_` as they are; braces without a bar, and without a partner, are letters.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from engine.contract.errors import InvalidRequest
from engine.contract.requests import PROMPT_MAX
from engine.contract.words import NESTING_MAX

# The lines of a list by its name. Raises `InvalidRequest` where there is none.
Lists = Callable[[str], Sequence[str]]

PICKS_MAX = 1_000
LISTS_DEEP_MAX = 16
_LISTED = r"__((?:(?!__)[^{}|\n]){1,300})__"
# A LoRA's tag is letters: what stands in it is a file's name, underscores and all.
_TAG = r"(?i:<lora:[^<>{}|\n]*>)"
_TOKEN = re.compile(rf"{_LISTED}|{_TAG}|\\.|[{{}}|]|__|(?:(?!__|(?i:<lora:))[^\\{{}}|])+|[\\<]", re.DOTALL)
_NAMED = re.compile(r"\S*[^\W_]\S*")
_PATH = re.compile(r"[/\\:%~\x00-\x08]|\.\.|^\.")
_CHANCE = re.compile(r"\s*(\d{1,6}(?:\.\d{0,6})?)::")


@dataclass(frozen=True)
class Listed:
    """One line of the list `name`."""

    name: str


@dataclass(frozen=True)
class Option:
    chance: float
    words: Template


@dataclass(frozen=True)
class Choice:
    options: tuple[Option, ...]


Template = tuple[str | Listed | Choice, ...]


@dataclass
class _Open:
    start: int
    marks: list[int] = field(default_factory=list)
    depth: int = 0


def parse_template(text: str, control: str) -> Template:
    """The prompt with its choices; without any, a string that equals the text. Raises `InvalidRequest` for a path in `__…__`."""
    parts: list[str | Listed | Choice] = []
    stack: list[_Open] = []
    position = 0
    while found := _TOKEN.match(text, position):
        sign, listed = found[0], found[1]
        position = found.end()
        if listed is not None:
            name = _list_name(listed, control)
            # Underscores around something else are letters; what they enclose is read again on its own.
            position = position if name else found.start() + 2
            parts.append(Listed(name) if name else "__")
        elif sign == "}" and stack:
            closed = stack.pop()
            is_choice = bool(closed.marks) and closed.depth < NESTING_MAX
            if stack:
                stack[-1].depth = max(stack[-1].depth, closed.depth + is_choice)
            if is_choice:
                edges = [closed.start, *closed.marks, len(parts)]
                parts[closed.start :] = [Choice(tuple(_option(parts[a + 1 : b]) for a, b in pairwise(edges)))]
            else:
                parts.append(sign)
        else:
            if sign == "{":
                stack.append(_Open(len(parts)))
            elif sign == "|" and stack:
                stack[-1].marks.append(len(parts))
            parts.append(sign)
    return _joined(parts)


def is_plain(template: Template) -> bool:
    """Whether nothing is left to chance."""
    return all(isinstance(part, str) for part in template)


def fill_in(template: Template, *, seed: int, lists: Lists, control: str) -> str:
    """The words that this seed chooses. Raises `InvalidRequest` for a list that is not here or names itself."""
    filling = _Filling(seed, lists, control)
    filling.check(template, ())
    return filling.fill(template)


def count_choices(template: Template) -> int:
    """How many prompts `every_choice` would make."""
    total = 1
    for part in template:
        if isinstance(part, Choice):
            total *= sum(count_choices(option.words) for option in part.options)
    return total


def every_choice(template: Template) -> list[tuple[tuple[str, ...], str]]:
    """(chosen words, prompt) for each combination of choices. Lists are left in their place, chances play no part."""
    found: list[tuple[tuple[str, ...], str]] = [((), "")]
    for part in template:
        match part:
            case str():
                found = [(chosen, text + part) for chosen, text in found]
            case Listed(name=name):
                found = [(chosen, f"{text}__{name}__") for chosen, text in found]
            case Choice(options=options):
                words = [text for option in options for _, text in every_choice(option.words)]
                found = [((*chosen, word), text + word) for chosen, text in found for word in words]
    return found


class _Filling:
    """One prompt being filled in: the picks are numbered from left to right, so what comes later changes none before it."""

    def __init__(self, seed: int, lists: Lists, control: str) -> None:
        self._seed, self._lists, self._control = seed, lists, control
        self._picks = self._letters = 0
        self._known: dict[str, tuple[Option, ...]] = {}

    def check(self, template: Template, trail: tuple[str, ...]) -> None:
        """Look at every list that could come up, whichever does: a prompt is refused always or never."""
        for name in _names(template):
            if name in trail:
                raise InvalidRequest(f"The wildcard list {name} names itself.", f"Take __{name}__ out of its own lines.", self._control)
            if len(trail) >= LISTS_DEEP_MAX:
                raise InvalidRequest("The wildcard lists name one another too deep.", f"Keep it to {LISTS_DEEP_MAX} levels.", self._control)
            if name not in self._known:
                options = tuple(_option([*parse_template(line, self._control)]) for line in self._lists(name))
                for option in options:
                    self.check(option.words, (*trail, name))
                self._known[name] = options

    def fill(self, template: Template) -> str:
        texts: list[str] = []
        for part in template:
            match part:
                case str():
                    self._letters += len(part)
                    if self._letters > PROMPT_MAX:
                        message = f"The {self._control.replace('_', ' ')} is too long with its wildcards filled in."
                        raise InvalidRequest(message, f"Keep it under {PROMPT_MAX:,} characters.", self._control)
                    texts.append(part)
                case Listed(name=name):
                    texts.append(self.fill(self._pick(self._known[name])))
                case Choice(options=options):
                    texts.append(self.fill(self._pick(options)))
        return "".join(texts)

    def _pick(self, options: tuple[Option, ...]) -> Template:
        self._picks += 1
        if self._picks > PICKS_MAX:
            raise InvalidRequest("The wildcards fill in too many words.", f"Keep it under {PICKS_MAX:,} choices.", self._control)
        digest = hashlib.sha256(f"{self._control}:{self._seed}:{self._picks}".encode()).digest()
        total = sum(option.chance for option in options)
        point = int.from_bytes(digest[:8], "big") / 2**64 * (total or len(options))
        for option in options:
            point -= option.chance if total else 1
            if point < 0:
                return option.words
        return options[-1].words


def _names(template: Template) -> list[str]:
    names: list[str] = []
    for part in template:
        match part:
            case Listed(name=name):
                names.append(name)
            case Choice(options=options):
                names += [name for option in options for name in _names(option.words)]
            case _:
                pass
    return names


def _list_name(inside: str, control: str) -> str | None:
    if _PATH.search(inside):
        raise InvalidRequest("A wildcard names a list, not a path.", "Write the name between the underscores, for example __colour__.", control)
    # Words with spaces are words between underscores; anything else was meant as a name, and no list will have it.
    return inside if _NAMED.fullmatch(inside) else None


def _option(parts: list[str | Listed | Choice]) -> Option:
    """Words without spaces around them, and their chance."""
    words = [*_joined(parts)]
    chance = 1.0
    if isinstance(words[0], str):
        if found := _CHANCE.match(words[0]):
            chance, words[0] = float(found[1]), words[0][found.end() :]
        words[0] = words[0].lstrip()
    if isinstance(words[-1], str):
        words[-1] = words[-1].rstrip()
    return Option(chance, tuple(words))


def _joined(parts: list[str | Listed | Choice]) -> Template:
    whole: list[str | Listed | Choice] = []
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
