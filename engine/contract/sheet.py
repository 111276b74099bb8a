"""Many jobs that belong together: a grid over one or two controls, a folder of sources, a dataset of classes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from engine.contract.errors import InvalidRequest
from engine.contract.guidance import GUIDANCE_LABELS, SCORE_LABELS
from engine.contract.requests import CONTROL_NAMES, PROMPT_MAX
from engine.contract.results import JobState, Picture
from engine.contract.schedulers import SCHEDULE_LABELS, SCHEDULER_LABELS
from engine.contract.wildcards import Choice, count_choices, every_choice, parse_template

CELLS_MAX = 64
VARIED = (
    "guidance_scale", "steps", "scheduler", "seed", "strength", "prompt", "negative_prompt", "variation_strength", "width", "height",
    "feather", "padding", "fill", "factor", "upscaler", "schedule", "guidance_style", "guidance_rescale", "guidance_start", "guidance_end", "perturbed_scale",
    "score_guidance", "score_scale", "score_target",
)  # fmt: skip
_SHORT = {
    "guidance": "guidance_scale",
    "cfg": "guidance_scale",
    "sampler": "scheduler",
    "variation": "variation_strength",
    "style": "guidance_style",
    "rescale": "guidance_rescale",
}
_LABELS: dict[str, Mapping[Any, str]] = {
    "scheduler": SCHEDULER_LABELS, "schedule": SCHEDULE_LABELS, "guidance_style": GUIDANCE_LABELS, "score_guidance": SCORE_LABELS,
}  # fmt: skip

SheetKind = Literal["grid", "folder", "dataset"]


@dataclass(frozen=True)
class Axis:
    """One control and the values that it takes. For `prompt`, each value replaces the first one's words in the prompt."""

    field: str
    values: tuple[str, ...]

    @property
    def name(self) -> str:
        return CONTROL_NAMES[self.field]


class Cell(BaseModel):
    """One place of a sheet: a normal job, or the reason why there is none. `values` is what was asked of the engine."""

    model_config = ConfigDict(frozen=True)

    label: str
    values: dict[str, Any]
    job_id: str | None = None
    error: dict[str, str | None] | None = None


class Sheet(BaseModel):
    """An ordered set of jobs. `columns` labels for each row of the grid; a folder or dataset has one column."""

    model_config = ConfigDict(frozen=True)

    id: str
    owner: str
    kind: SheetKind
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class CellView:
    """How far one cell has come."""

    label: str
    state: JobState
    pictures: tuple[Picture, ...] = ()
    error: dict[str, str | None] | None = None


def parse_axis(field: str, text: str) -> Axis:
    """An axis from a control's name and values between commas. Raises `InvalidRequest` with field "vary"."""
    key = field.strip().lower().replace(" ", "_")
    key = _SHORT.get(key, key)
    if key not in VARIED:
        raise InvalidRequest(f"{field.strip() or 'Nothing'} cannot be varied.", f"Choose one of {', '.join(VARIED)}.", "vary")
    values = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not values:
        raise InvalidRequest(f"There are no values for {CONTROL_NAMES[key]}.", "Write them between commas, for example 3, 6, 9.", "vary")
    return Axis(key, values)


def expand_grid(values: Mapping[str, Any], axes: list[Axis]) -> tuple[tuple[str, ...], tuple[str, ...], list[tuple[str, dict[str, Any]]]]:
    """Column labels, row labels and (label, request values) of every cell, row by row. The first axis runs across."""
    if not 1 <= len(axes) <= 2 or len({axis.field for axis in axes}) != len(axes):
        raise InvalidRequest("A grid needs one or two different controls.", "Choose another control for the second axis.", "vary")
    across, down = axes[0], axes[1] if len(axes) == 2 else None
    count = len(across.values) * len(down.values if down else (1,))
    if count > CELLS_MAX:
        raise InvalidRequest(f"That would be {count} pictures.", f"A grid has at most {CELLS_MAX} cells.", "vary")
    cells: list[tuple[str, dict[str, Any]]] = []
    for y, x in itertools.product(down.values if down else (None,), across.values):
        cell, labels = dict(values), [f"{across.name} {_pretty(across, x)}"]
        _set(cell, across, x)
        if down is not None and y is not None:
            _set(cell, down, y)
            labels.append(f"{down.name} {_pretty(down, y)}")
        cells.append((", ".join(labels), cell))
    columns = tuple(f"{across.name} {_pretty(across, x)}" for x in across.values)
    rows = tuple(f"{down.name} {_pretty(down, y)}" for y in down.values) if down else ("",)
    return columns, rows, cells


def _set(cell: dict[str, Any], axis: Axis, value: str) -> None:
    # Search and replace: "castle, tower, ship" over "a red castle" gives three prompts.
    if axis.field in ("prompt", "negative_prompt"):
        words = str(cell.get(axis.field, ""))
        cell[axis.field] = words.replace(axis.values[0], value) if axis.values[0] in words else value
    else:
        cell[axis.field] = value


def _pretty(axis: Axis, value: str) -> str:
    return _LABELS.get(axis.field, {}).get(value, value)


def expand_choices(prompt: str) -> list[tuple[str, str]]:
    """(class label, prompt) for every combination of `{a|b}` choices in a prompt; one entry without a label if there are none."""
    # A prompt that the request will refuse is not taken apart.
    template = parse_template(prompt, "prompt") if len(prompt) <= PROMPT_MAX else (prompt,)
    if not any(isinstance(part, Choice) for part in template):
        return [("", prompt)]
    if count_choices(template) > CELLS_MAX:
        raise InvalidRequest(f"The choices in the prompt make {CELLS_MAX + 1} classes or more.", f"Keep it to {CELLS_MAX}.", "prompt")
    return [(" ".join(word for word in chosen if word) or "nothing", text) for chosen, text in every_choice(template)]
