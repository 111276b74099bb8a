"""Sheets: many jobs that belong together, asked for at once."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Protocol

from engine.contract.errors import EngineError
from engine.contract.recipe import Recipe
from engine.contract.requests import parse_request
from engine.contract.results import Brought, Job
from engine.contract.sheet import Axis, Cell, Sheet, SheetKind, expand_choices, expand_grid
from engine.library.sheets import Sheets
from engine.resolver import Resolver


class Accept(Protocol):
    def __call__(self, recipe: Recipe, owner: str, *, more: int = 1) -> Job:
        """Journal one job of `more` that will follow. Raises `Busy` when those would not fit into the owner's queue."""
        ...


class SheetMaker:
    """Turns one wish into many jobs. A cell that cannot run says why in its place; the others run."""

    def __init__(self, sheets: Sheets, resolver: Resolver, accept: Accept) -> None:
        self._sheets = sheets
        self._resolver = resolver
        self._accept = accept

    def grid(self, values: Mapping[str, Any], axes: list[Axis], owner: str) -> Sheet:
        fixed = {"seed": secrets.randbelow(2**32), **{name: value for name, value in values.items() if value is not None}}
        columns, rows, cells = expand_grid(fixed, axes)
        return self._make("grid", columns, rows, cells, owner)

    def folder(self, sources: list[Brought], values: Mapping[str, Any], owner: str) -> Sheet:
        cells = [(one.name, {**values, "source": None if one.image is None else one.image.hash}) for one in sources]
        refused = {number: EngineError.from_plain(one.error) for number, one in enumerate(sources) if one.error is not None}
        return self._make("folder", ("",), tuple(label for label, _ in cells), cells, owner, refused)

    def dataset(self, values: Mapping[str, Any], owner: str) -> Sheet:
        classes = expand_choices(str(values.get("prompt", "")))
        cells = [(label, {**values, "prompt": prompt}) for label, prompt in classes]
        return self._make("dataset", ("",), tuple(label for label, _ in cells), cells, owner)

    def _make(
        self,
        kind: SheetKind,
        columns: tuple[str, ...],
        rows: tuple[str, ...],
        asked: list[tuple[str, dict[str, Any]]],
        owner: str,
        refused: Mapping[int, EngineError] | None = None,
    ) -> Sheet:
        checked: list[tuple[str, dict[str, Any], Recipe | EngineError]] = []
        for number, (label, values) in enumerate(asked):
            try:
                if refused and number in refused:
                    raise refused[number]
                checked.append((label, values, self._resolver.recipe(parse_request(values), owner)))
            except EngineError as error:
                checked.append((label, values, error))
        runnable = [one for one in checked if isinstance(one[2], Recipe)]
        if not runnable:
            raise next(one[2] for one in checked if isinstance(one[2], EngineError))
        cells: list[Cell] = []
        for label, values, outcome in checked:
            if isinstance(outcome, EngineError):
                cells.append(Cell(label=label, values=values, error=outcome.to_plain()))
            else:
                # All or nothing: a sheet that would not fit into the queue is refused with its first job.
                more = len(runnable) if not any(cell.job_id for cell in cells) else 1
                cells.append(Cell(label=label, values=values, job_id=self._accept(outcome, owner, more=more).id))
        sheet = Sheet(id=secrets.token_hex(16), owner=owner, kind=kind, columns=columns, rows=rows, cells=tuple(cells))
        self._sheets.add(sheet)
        return sheet
