"""Times and errors in words."""

from __future__ import annotations

from engine import EngineError


def seconds(value: float | None) -> str:
    """ "≈ 3 s", "≈ 2 min", or nothing while nothing is known."""
    if value is None:
        return ""
    if value < 1:
        return "< 1 s"
    return f"≈ {value:.0f} s" if value < 90 else f"≈ {value / 60:.0f} min"


def place_in_line(position: int, eta_s: float | None) -> str:
    place = "Next in line" if position == 1 else f"Number {position} in line"
    return f"{place} · starts in {seconds(eta_s)}" if eta_s else place


def price_words(value: float | None, position: int) -> str:
    """What goes onto Generate before it is pressed: "≈ 9 s · 2nd in line", or nothing while nothing is known."""
    if value is None:
        return ""
    return seconds(value) if position == 1 else f"{seconds(value)} · {ordinal(position)} in line"


def ordinal(number: int) -> str:
    """ "1st", "2nd", "11th"."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def sentence(error: EngineError) -> str:
    """One sentence or two for places that have a single line, such as the API."""
    return f"{error.message} {error.hint}".strip()
