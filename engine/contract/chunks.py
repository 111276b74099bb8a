"""Words to the runs of tokens that a text encoder reads at once. The same for the page's counter and for the encoder itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from engine.contract.words import Passage


class Placed(NamedTuple):
    """One token in a run, and its weight."""

    token: int
    weight: float


Run = list[Placed]


def lay_out(passages: tuple[Passage, ...], tokenize: Callable[[str], list[int]], *, room: int) -> list[Run]:
    """Runs of at most `room` tokens. A passage begins a new one; a passage without words is an empty one."""
    runs: list[Run] = []
    for passage in passages:
        placed = [Placed(token, piece.weight) for piece in passage for token in tokenize(piece.text)]
        runs += [placed[i : i + room] for i in range(0, len(placed), room)] or [[]]
    return runs
