"""Sheets: many jobs that belong together, asked for at once."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, BinaryIO, Protocol

from engine.contract.errors import EngineError, InvalidRequest, NotFound
from engine.contract.recipe import Recipe
from engine.contract.requests import parse_request
from engine.contract.results import Brought, Job
from engine.contract.sheet import Axis, Cell, CellView, Sheet, SheetKind, expand_choices, expand_grid
from engine.jobs.journal import Journal
from engine.library.archive import write_dataset, write_pictures
from engine.library.catalogue import Catalogue
from engine.library.history import History
from engine.library.sheets import Sheets
from engine.resolver import Resolver


class Accept(Protocol):
    def __call__(self, recipe: Recipe, owner: str, *, more: int = 1) -> Job:
        """Journal one job of `more` that will follow. Raises `Busy` when those would not fit into the owner's queue."""
        ...


class SheetDesk:
    """Turns one wish into many jobs, and says how far they are. A cell that cannot run says why in its place; the others run."""

    def __init__(self, *, sheets: Sheets, resolver: Resolver, journal: Journal, history: History, models: Catalogue, accept: Accept) -> None:
        self._sheets = sheets
        self._resolver = resolver
        self._journal = journal
        self._history = history
        self._models = models
        self._accept = accept

    def grid(self, values: Mapping[str, Any], axes: list[Axis], owner: str) -> Sheet:
        """Every combination of one or two controls as a job of its own. All share one seed, unless it is what varies.

        Raises `InvalidRequest` when no request fits at all.
        """
        fixed = {"seed": secrets.randbelow(2**32), **{name: value for name, value in values.items() if value is not None}}
        columns, rows, cells = expand_grid(fixed, axes)
        return self._make("grid", columns, rows, cells, owner)

    def folder(self, sources: list[Brought], values: Mapping[str, Any], owner: str) -> Sheet:
        """The same request over many sources. One that was refused says so in its cell."""
        cells = [(one.name, {**values, "source": None if one.image is None else one.image.hash}) for one in sources]
        refused = {number: EngineError.from_plain(one.error) for number, one in enumerate(sources) if one.error is not None}
        return self._make("folder", ("",), tuple(label for label, _ in cells), cells, owner, refused)

    def dataset(self, values: Mapping[str, Any], owner: str) -> Sheet:
        """One job for each class that the `{a|b}` choices of the prompt make, each with the same count: balanced classes."""
        classes = expand_choices(str(values.get("prompt", "")))
        cells = [(label, {**values, "prompt": prompt}) for label, prompt in classes]
        return self._make("dataset", ("",), tuple(label for label, _ in cells), cells, owner)

    def get(self, sheet_id: str, owner: str) -> Sheet:
        """Raises `NotFound`."""
        return self._sheets.get(sheet_id, owner)

    def newest(self, owner: str) -> Sheet | None:
        return self._sheets.newest(owner)

    def cells(self, sheet: Sheet) -> list[CellView]:
        """How far every cell has come, in order."""
        views: list[CellView] = []
        for cell in sheet.cells:
            if cell.job_id is None:
                views.append(CellView(cell.label, "failed", error=cell.error))
                continue
            job = self._journal.get(cell.job_id, sheet.owner)
            shown = tuple(picture for picture in self._history.of_job(job.id) if not picture.is_binned)
            views.append(CellView(cell.label, job.state, shown, job.error))
        return views

    def retry_cell(self, sheet_id: str, number: int, owner: str) -> Sheet:
        """Ask for one cell again; the others are left alone. Raises `NotFound`, or what the request itself raises."""
        sheet = self._sheets.get(sheet_id, owner)
        if not 0 <= number < len(sheet.cells):
            raise NotFound("There is no such cell.", "Choose one of the sheet.")
        old = sheet.cells[number]
        recipe = self._journal.get(old.job_id, owner).recipe if old.job_id else self._resolver.recipe(parse_request(old.values), owner)
        job = self._accept(recipe, owner)
        if old.job_id:
            self._journal.put_away(old.job_id, owner)
        return self._sheets.replace_cell(sheet, number, old.model_copy(update={"job_id": job.id, "error": None}))

    def write(self, sheet_id: str, owner: str, target: BinaryIO, *, as_dataset: bool = False) -> None:
        """A zip of the sheet's finished pictures with their recipes, or as a dataset with captions and licence. Raises `NotFound` or `InvalidRequest`."""
        sheet = self._sheets.get(sheet_id, owner)
        pictures = [(view.label, picture) for view in self.cells(sheet) for picture in view.pictures if picture.path.is_file()]
        if not pictures:
            raise InvalidRequest("No picture of this sheet is finished yet.", "Wait for one, or press Generate again.", "sheet")
        if as_dataset:
            write_dataset(target, pictures, self._models.card(pictures[0][1].recipe.model))
        else:
            write_pictures(target, pictures)

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
                # All or nothing: a sheet that would not fit into the queue, or onto the shelf, is refused with its first job.
                more = len(runnable) if not any(cell.job_id for cell in cells) else 1
                cells.append(Cell(label=label, values=values, job_id=self._accept(outcome, owner, more=more).id))
        sheet = Sheet(id=secrets.token_hex(16), owner=owner, kind=kind, columns=columns, rows=rows, cells=tuple(cells))
        self._sheets.add(sheet)
        return sheet
