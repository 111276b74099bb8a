"""Words to the runs of tokens that a text encoder reads at once. The same for the page's counter and for the encoder itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from engine.contract.embeddings import split_embeddings
from engine.contract.words import Passage


class Placed(NamedTuple):
    """One token in a run, and its weight. Where an embedding stands, `vector` is its name and which of its vectors this is."""

    token: int
    weight: float
    vector: tuple[str, int] | None = None


Run = list[Placed]


@dataclass(frozen=True)
class Counted:
    """A prompt as one text encoder reads it, in its longest step: `chunks` of `room` tokens.

    `last` is how many of its tokens stand in the last chunk. `unknown` are words that the vocabulary has only in pieces,
    and `<names>` that no embedding has; `unknown_share` says how many of the words that carry meaning are such, 0 to 1.
    """

    encoder: str
    tokens: int
    chunks: int
    room: int
    unknown: tuple[str, ...]
    embeddings: tuple[str, ...]
    last: int = 0
    unknown_share: float = 0.0

    @property
    def is_mostly_unknown(self) -> bool:
        """Whether the model can only guess at most of the words."""
        return self.unknown_share > 0.5


def lay_out(
    passages: tuple[Passage, ...], tokenize: Callable[[str], list[int]], *, room: int, embeddings: Mapping[str, int] | None = None
) -> list[Run]:
    """Runs of at most `room` tokens. A passage begins a new one; a passage without words is an empty one.

    `embeddings` are numbers of vectors by name. The vectors of one stay together: it moves to a new run whole.
    """
    runs: list[Run] = []
    for passage in passages:
        runs.append([])
        for group in _groups(passage, tokenize, embeddings or {}):
            if len(runs[-1]) + len(group) > room and runs[-1]:
                runs.append([])
            runs[-1].extend(group)
    return runs


def _groups(passage: Passage, tokenize: Callable[[str], list[int]], embeddings: Mapping[str, int]) -> list[Run]:
    groups: list[Run] = []
    for piece in passage:
        for text, name in split_embeddings(piece.text, embeddings):
            if name is None:
                groups += [[Placed(token, piece.weight)] for token in tokenize(text)]
            else:
                groups.append([Placed(0, piece.weight, (name, number)) for number in range(embeddings[name])])
    return groups
