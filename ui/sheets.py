"""A sheet of many jobs to what the stage shows, while it is drawn and after."""

from __future__ import annotations

import base64
from typing import Any

from engine import CellView, Progress, Sheet
from ui.links import picture_view

_OPEN = ("queued", "running", "paused")


def is_open(cells: list[CellView]) -> bool:
    return any(cell.state in _OPEN for cell in cells)


def sheet_view(sheet: Sheet, cells: list[CellView], secret: bytes, progress: Progress | None = None) -> dict[str, Any]:
    """The stage's value for a sheet. `progress` is of the cell that is being drawn."""
    done = sum(cell.state == "done" for cell in cells)
    failed = sum(cell.state == "failed" for cell in cells)
    words = f"{done} of {len(cells)} drawn" + (f", {failed} failed" if failed else "")
    share = progress.step / progress.steps if progress else 0.0
    return {
        "kind": "sheet",
        "sheet": sheet.id,
        "sheet_kind": sheet.kind,
        # Two axes stand as they are; a single row is laid out as there is room.
        "columns": len(sheet.columns) if sheet.kind == "grid" and len(sheet.rows) > 1 else None,
        "is_busy": is_open(cells),
        "text": words,
        "share": (done + share) / max(len(cells), 1),
        "cells": [_cell(cell, secret, progress) for cell in cells],
    }


def _cell(cell: CellView, secret: bytes, progress: Progress | None) -> dict[str, Any]:
    view: dict[str, Any] = {"label": cell.label, "state": cell.state}
    if cell.pictures:
        view["picture"] = picture_view(cell.pictures[-1], secret)
        view["pictures"] = len(cell.pictures)
    if cell.state == "failed":
        error = cell.error or {}
        view["text"] = f"{error.get('message') or 'It failed.'} {error.get('hint') or ''}".strip()
    elif cell.state == "queued":
        view["text"] = "waiting"
    elif cell.state == "paused":
        view["text"] = "paused"
    elif cell.state == "cancelled":
        view["text"] = "stopped"
    elif cell.state == "running":
        view["text"] = f"step {progress.step} of {progress.steps}" if progress else "begins"
        if progress and progress.preview:
            view["preview"] = "data:image/jpeg;base64," + base64.b64encode(progress.preview).decode()
    elif len(cell.pictures) > 1:
        view["text"] = f"{len(cell.pictures)} pictures"
    return view
