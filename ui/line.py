"""A visitor's line as rows of plain values: what waits, runs, is paused or has failed, and what can be done with each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine import Drawn, Event, Job, JobState, Loading, Paused, Progress, Queued, Sheet, Skipped
from ui.messages import place_in_line
from ui.stream import paused_words, progress_words


@dataclass
class Heard:
    """An open job and what was heard of it last."""

    job: Job
    event: Event | None = None
    drawn: set[int] = field(default_factory=set[int])

    def hear(self, event: Event) -> bool:
        """Take in an event that is no ending; whether results or the line have changed by it."""
        match event:
            case Drawn(picture=picture):
                self.drawn.add(picture.index)
                return True
            case Skipped():
                return True
            case _:
                self.event = event
                state = _STATES.get(type(event), self.job.state)
                has_turned = state != self.job.state
                # What runs may be heard of sooner than the journal is read again.
                self.job = self.job.model_copy(update={"state": state}) if has_turned else self.job
                return has_turned


_STATES: dict[type, JobState] = {Queued: "queued", Loading: "running", Progress: "running", Paused: "paused"}


def line_view(heard: Sequence[Heard], failures: Sequence[Job], sheet: Sheet | None) -> list[dict[str, Any]]:
    """Rows in the order of the line, then failures. The jobs of a sheet are one row: they belong together and stop together."""
    cells = {cell.job_id for cell in sheet.cells} if sheet else set[str | None]()
    waiting = [one.job.id for one in heard if one.job.state == "queued" and one.job.id not in cells]
    rows: list[dict[str, Any]] = []
    of_sheet = [one for one in heard if one.job.id in cells]
    for one in heard:
        if one.job.id not in cells:
            rows.append(_row(one, waiting))
        elif sheet is not None and one is of_sheet[0]:
            rows.append(_sheet_row(sheet, len(of_sheet), one.job))
    return rows + [_failure(job) for job in failures if job.id not in cells]


def _row(one: Heard, waiting: list[str]) -> dict[str, Any]:
    job, event, at = one.job, one.event, _place(one.job, waiting)
    row: dict[str, Any] = {**_facts(job), "can": []}
    if job.state == "paused":
        return row | {"text": paused_words(event.step if isinstance(event, Paused) else job.steps_done), "can": ["resume"]}
    row["can"] = ["pause"]
    if job.state == "queued":
        row["can"] += [name for name, is_so in (("up", at > 0), ("down", 0 <= at < len(waiting) - 1)) if is_so]
    match event:
        case Queued(position=position, eta_s=eta_s):
            row["text"] = place_in_line(position, eta_s)
        case Loading(what=what):
            row["text"] = what
        case Progress():
            row |= {"text": progress_words(event), "share": (event.picture + event.step / event.steps) / event.count}
        case _:
            row["text"] = "Begins" if job.state == "running" else "Waiting"
    row["skip"] = _next_picture(one)
    return row


def _next_picture(one: Heard) -> int | None:
    """The picture of a batch that can be skipped now, from 0: the one being drawn, else the first that is still wanted."""
    if one.job.recipe.count == 1:
        return None
    left = [number for number in range(one.job.recipe.count) if number not in one.drawn and number not in one.job.skipped]
    if isinstance(one.event, Progress) and one.event.picture in left:
        return one.event.picture
    # The last one that is wanted is stopped, not skipped.
    return left[0] if len(left) > 1 else None


def _place(job: Job, waiting: list[str]) -> int:
    return waiting.index(job.id) if job.id in waiting else -1


def _facts(job: Job) -> dict[str, Any]:
    recipe = job.recipe
    facts = f"{recipe.width} × {recipe.height} · {recipe.steps_run} steps" + (f" · {recipe.count} pictures" if recipe.count > 1 else "")
    return {"job": job.id, "state": job.state, "prompt": recipe.prompt, "facts": facts, "count": recipe.count}


def _sheet_row(sheet: Sheet, left: int, job: Job) -> dict[str, Any]:
    done = len(sheet.cells) - left
    name = {"grid": "Grid", "folder": "Folder", "dataset": "Dataset"}.get(sheet.kind, "Sheet")
    return {
        **_facts(job),
        "job": sheet.id,
        "sheet": sheet.id,
        "facts": name,
        "text": f"{done} of {len(sheet.cells)} done",
        "share": done / len(sheet.cells),
        "can": [],
    }


def _failure(job: Job) -> dict[str, Any]:
    error = job.error or {}
    text = f"{error.get('message') or 'It failed.'} {error.get('hint') or ''}".strip()
    return {**_facts(job), "text": text, "can": ["retry", "away"]}
