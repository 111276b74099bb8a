"""One line of the table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure with the bar that it should meet; `passes` is None where there is no bar. `picture` is the hash of the picture that was drawn."""

    what: str
    figure: str
    bar: str
    passes: bool | None
    picture: str = ""
