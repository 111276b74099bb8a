"""`python -m tests.faults`: every row of the fault table, what was done, the figure, the bar. Exit code 1 where a bar is not held."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from tests.faults.figures import PROPERTY, ROWS, shown

_WORST = {"≤": max, "≥": min, "=": max}


@dataclass
class Deed:
    """One test function of a row, all its cases together."""

    row: str
    words: str
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    figures: dict[tuple[str, str, str, float], list[tuple[float, bool]]] = field(default_factory=dict)

    @property
    def is_held(self) -> bool:
        return self.passed > 0 and not self.failed

    def lines(self) -> Iterable[tuple[str, str]]:
        """(figure, bar) of each thing that was measured, the worst of all cases."""
        if len(self.figures) == 0 or self.passed + len(self.failed) > 1:
            cases = self.passed + len(self.failed)
            yield f"{self.passed} of {cases} cases", f"{cases} of {cases}"
        for (what, unit, kind, bar), seen in self.figures.items():
            value = _WORST[kind](value for value, _ in seen)
            value = next((value for value, is_held in seen if not is_held), value)
            yield f"{what} {shown(value, unit)}", f"{kind} {shown(bar, unit)}"


class Table:
    """A plugin of pytest that keeps what the tests of faults tell."""

    def __init__(self) -> None:
        self._of: dict[str, list[Deed]] = {}
        self.deeds: dict[tuple[str, str], Deed] = {}
        self.broken: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            function = getattr(item, "function", None)
            name = getattr(item, "originalname", item.name)
            words = (inspect.getdoc(function) or "").split("\n")[0].rstrip(".") or name.removeprefix("test_").replace("_", " ")
            for mark in item.iter_markers("fault"):
                deed = self.deeds.setdefault((mark.args[0], f"{item.path}::{name}"), Deed(mark.args[0], words))
                self._of.setdefault(item.nodeid, []).append(deed)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for deed in self._of.get(report.nodeid, ()):
            deed.seconds += report.duration
            if report.outcome == "rerun":  # pyright: ignore[reportUnnecessaryComparison] - a plugin adds it
                continue
            if report.failed or report.skipped:
                deed.failed.append(report.nodeid)
            elif report.when == "call":
                deed.passed += 1
            if report.when == "call":
                for name, value in report.user_properties:
                    if name == PROPERTY:
                        what, number, unit, kind, bar, is_held = value  # pyright: ignore[reportGeneralTypeIssues]
                        deed.figures.setdefault((what, unit, kind, bar), []).append((number, is_held))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken.append(report.nodeid)


def main(arguments: list[str]) -> int:
    began = time.monotonic()
    table = Table()
    pytest.main(["-m", "fault", "--timeout", "300", "-p", "no:cacheprovider", *arguments], plugins=[table])
    is_whole = not arguments
    print(f"\n{'fault':<21} {'what was done':<86} {'figure':<52} {'bar':<16} {'':<6} s")
    missing: list[str] = []
    for row in ROWS:
        deeds = [deed for deed in table.deeds.values() if deed.row == row]
        if not deeds and is_whole:
            missing.append(row)
        for number, deed in enumerate(deeds):
            for line, (figure, bar) in enumerate(deed.lines()):
                left = (row if not number else "") if not line else ""
                right = (("pass" if deed.is_held else "FAIL"), f"{deed.seconds:.0f}") if not line else ("", "")
                print(f"{left:<21} {deed.words[:86] if not line else '':<86} {figure:<52} {bar:<16} {right[0]:<6} {right[1]}")
    failed = [name for deed in table.deeds.values() for name in deed.failed]
    for name in dict.fromkeys([*table.broken, *failed]):
        print(f"FAIL {name}")
    for row in missing:
        print(f"FAIL no test of the row: {row}")
    held = sum(any(d.row == row for d in table.deeds.values()) and all(d.is_held for d in table.deeds.values() if d.row == row) for row in ROWS)
    print(f"\n{held} of {len(ROWS)} rows hold, in {time.monotonic() - began:.0f} s")
    return 1 if failed or missing or table.broken or not table.deeds else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
