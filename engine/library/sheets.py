"""Sheets on disk: which jobs belong together. What became of them is read from the journal."""

from __future__ import annotations

import time

from sqlalchemy import insert, select, update

from engine.contract.errors import NotFound
from engine.contract.sheet import Cell, Sheet
from engine.store import Store
from engine.store import sheets_table as sheets


class Sheets:
    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, sheet: Sheet) -> None:
        row = {"id": sheet.id, "owner": sheet.owner, "content": sheet.model_dump_json(), "created_at": time.time()}
        with self._store.begin() as db:
            db.execute(insert(sheets).values(row))

    def get(self, sheet_id: str, owner: str) -> Sheet:
        """Raises `NotFound`, also when it is somebody else's."""
        query = select(sheets.c.content).where(sheets.c.id == sheet_id, sheets.c.owner == owner)
        with self._store.connect() as db:
            content = db.execute(query).scalar_one_or_none()
        if content is None:
            raise NotFound("This sheet is not here.", "It belongs to somebody else, or it was deleted.")
        return Sheet.model_validate_json(content)

    def newest(self, owner: str) -> Sheet | None:
        query = select(sheets.c.content).where(sheets.c.owner == owner).order_by(sheets.c.created_at.desc()).limit(1)
        with self._store.connect() as db:
            content = db.execute(query).scalar_one_or_none()
        return None if content is None else Sheet.model_validate_json(content)

    def replace_cell(self, sheet: Sheet, number: int, cell: Cell) -> Sheet:
        """The sheet with one cell made anew."""
        changed = sheet.model_copy(update={"cells": (*sheet.cells[:number], cell, *sheet.cells[number + 1 :])})
        with self._store.begin() as db:
            db.execute(update(sheets).where(sheets.c.id == sheet.id).values(content=changed.model_dump_json()))
        return changed
