"""A test of a fault says which row it belongs to (`@pytest.mark.fault("disk full")`) and what it measured (the `figure` fixture)."""

from __future__ import annotations

import pytest

# Every fault that a studio survives. A row without a test makes `make faults` fail; a test of another row is refused.
ROWS = (
    "worker killed",
    "server killed",
    "line dropped",
    "stop",
    "out of memory",
    "bad numbers",
    "disk full",
    "damaged model",
    "wrong adapter",
    "100 visitors",
    "slow readers",
    "hostile uploads",
    "hostile names",
    "SIGTERM",
    "clock, lock, folders",
)
PROPERTY = "figure"


class Figures:
    """Holds what a test measured against its bar, and remembers it for the table whether it held or not."""

    def __init__(self, properties: list[tuple[str, object]]) -> None:
        self._properties = properties

    def __call__(
        self, what: str, value: float, unit: str = "", *, at_most: float | None = None, at_least: float | None = None, equals: float | None = None
    ) -> None:
        """Exactly one bar. Raises `AssertionError` with the figure where it is not held."""
        ((kind, bar),) = [(kind, bar) for kind, bar in (("≤", at_most), ("≥", at_least), ("=", equals)) if bar is not None]
        is_held = {"≤": value <= bar, "≥": value >= bar, "=": value == bar}[kind]
        self._properties.append((PROPERTY, (what, float(value), unit, kind, float(bar), is_held)))
        print(f"{what}: {shown(value, unit)} (bar {kind} {shown(bar, unit)})")
        assert is_held, f"{what}: {shown(value, unit)}, and the bar is {kind} {shown(bar, unit)}"


def shown(value: float, unit: str) -> str:
    number = f"{value:.0f}" if float(value).is_integer() else f"{value:.3g}"
    return f"{number} {unit}".strip()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figures:
    """Holds a figure against its bar: `figure("told after", seconds, "s", at_most=2)`."""
    # A test that is tried again tells of its last try alone.
    request.node.user_properties[:] = [one for one in request.node.user_properties if one[0] != PROPERTY]
    return Figures(request.node.user_properties)


def check_rows(items: list[pytest.Item]) -> None:
    """Raises `pytest.UsageError` for a test of a fault that is no row of the table."""
    for item in items:
        for mark in item.iter_markers("fault"):
            if mark.args[0] not in ROWS:
                raise pytest.UsageError(f"{item.nodeid}: there is no fault {mark.args[0]!r}. Choose one of ROWS in tests/faults/figures.py.")
