"""Finished pictures to files, and what was made to stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import CellView, Engine, EngineError, Picture, Sheet
from engine.library.carriers import converted, format_of


@dataclass
class Made:
    """What lies on disk now, and what does not because it failed."""

    pictures: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    archive: Path | None = None


def write_pictures(pictures: Sequence[Picture], out: Path) -> Made:
    """`castle.png` for one picture; `castle-1.png`, `castle-2.png` … for several."""
    made = Made()
    for picture in pictures:
        made.pictures.append(_written(picture, out if len(pictures) == 1 else _numbered(out, picture.index + 1)))
    return made


def write_cells(cells: Sequence[CellView], out: Path) -> Made:
    """`grid-3.png` for the third cell, whatever became of the others; `grid-3-1.png` … where a cell has several pictures."""
    made = Made(failed=_failures(cells))
    for number, cell in enumerate(cells, start=1):
        target = _numbered(out, number)
        for picture in cell.pictures:
            path = target if len(cell.pictures) == 1 else _numbered(target, picture.index + 1)
            made.pictures.append({"label": cell.label, **_written(picture, path)})
    return made


def write_zip(engine: Engine, sheet: Sheet, cells: Sequence[CellView], out: Path, *, as_dataset: bool) -> Made:
    """Written aside, then renamed: what bears the name is whole."""
    aside = out.with_name(f"{out.name}.part")
    with _telling(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                engine.sheets.write(sheet.id, sheet.owner, file, as_dataset=as_dataset)
            aside.replace(out)
        finally:
            aside.unlink(missing_ok=True)
    pictures = [{"label": cell.label, **_facts(picture)} for cell in cells for picture in cell.pictures]
    return Made(pictures, _failures(cells), out)


def print_made(made: Made, seconds: float, *, as_json: bool) -> None:
    """Failures go to stderr, one sentence each; the rest to stdout, for eyes or for a program."""
    for one in made.failed:
        print(f"{one['label']}: {one['message']} {one['hint'] or ''}".strip(), file=sys.stderr)
    if as_json:
        plain: dict[str, Any] = {"pictures": made.pictures, "seconds": round(seconds, 3)}
        if made.failed:
            plain["failed"] = made.failed
        if made.archive:
            plain["path"] = str(made.archive)
        print(json.dumps(plain, ensure_ascii=False))
    elif made.archive:
        print(f"{made.archive}  {len(made.pictures)} pictures  {seconds:.1f} s")
    else:
        for one in made.pictures:
            label = f"{one['label']}  " if one.get("label") else ""
            print(f"{one['path']}  {label}seed {one['seed']}  {one['seconds']} s")


def _failures(cells: Sequence[CellView]) -> list[dict[str, Any]]:
    return [{"label": cell.label, **(cell.error or {"message": "It was stopped.", "hint": ""})} for cell in cells if cell.state != "done"]


def _written(picture: Picture, target: Path) -> dict[str, Any]:
    with _telling(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        # The ending says what the file is; any other one has always been a PNG.
        target.write_bytes(converted(picture.path, format_of(target.name) or "png"))
    return {"path": str(target), **_facts(picture)}


def _facts(picture: Picture) -> dict[str, Any]:
    return {"seed": picture.seed, "seconds": round(picture.seconds, 3), "recipe": picture.recipe.to_plain()}


def _numbered(out: Path, number: int) -> Path:
    return out.with_name(f"{out.stem}-{number}{out.suffix}")


@contextmanager
def _telling(target: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise EngineError(f"Cannot write {target} ({error.strerror}).", "Choose another --out.", "out") from error
