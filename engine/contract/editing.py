"""Editing by a sentence: which models do it, how many pictures they look at, and at what size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.contract.errors import InvalidRequest
from engine.contract.models import ModelCard

# Width and height in pixels.
Size = tuple[int, int]

# The most that any model looks at, the source included.
EDIT_PICTURES_MAX = 4
EDITING_MODELS = "FLUX.1 Kontext, Qwen-Image-Edit or FLUX.2 klein"

MEGAPIXEL = 1024 * 1024
_PATCH = 16
# Below this edge and beyond this ratio of the edges a model has never seen a picture.
_EDGE_MIN, _RATIO_MAX = 64, 8
# The most that is drawn at once along an edge, as in every request.
_EDGE_MAX = 2048
# What Kontext was trained on (Black Forest Labs 2025): about a megapixel, from one to two and a third.
_KONTEXT_EDGES = (
    (672, 1568), (688, 1504), (720, 1456), (752, 1392), (800, 1328), (832, 1248), (880, 1184), (944, 1104), (1024, 1024),
)  # fmt: skip
KONTEXT_SIZES: tuple[Size, ...] = (*_KONTEXT_EDGES, *((height, width) for width, height in reversed(_KONTEXT_EDGES[:-1])))


@dataclass(frozen=True)
class Editor:
    """How models of one pipeline edit.

    `pictures`: how many they look at, the source included. `looks_at`: the size of a picture → the size at which they see
    it. `crops`: they cut to that size what is a few pixels larger, where others bend it. `needs`: parts of the folder
    without which they cannot. `guidance_scale`: what is usual for an edit, where that is not what is usual for the family.
    """

    pictures: int
    looks_at: Callable[[Size], Size]
    crops: bool = False
    needs: frozenset[str] = frozenset()
    guidance_scale: float | None = None


def kontext_size(size: Size) -> Size:
    """The one of Kontext's sizes whose shape is nearest to that of the picture in whole patches."""
    ratio = (size[0] // _PATCH) / (size[1] // _PATCH)
    return min(KONTEXT_SIZES, key=lambda one: (abs(ratio - one[0] / one[1]), one))


def about_area(size: Size, area: int = MEGAPIXEL) -> Size:
    """The same shape with about `area` pixels, in steps of 32: how Qwen-Image-Edit sees a picture."""
    width = math.sqrt(area * (size[0] / size[1]))
    height = width / (size[0] / size[1])
    return round(width / 32) * 32, round(height / 32) * 32


def within_area(size: Size, area: int = MEGAPIXEL) -> Size:
    """A picture of more than `area` pixels made smaller; any other as it is."""
    if size[0] * size[1] <= area:
        return size
    scale = math.sqrt(area / (size[0] * size[1]))
    return int(size[0] * scale), int(size[1] * scale)


def klein_size(size: Size) -> Size:
    """At most a megapixel, cut to whole patches."""
    width, height = within_area(size)
    return width // _PATCH * _PATCH, height // _PATCH * _PATCH


# By what `model_index.json` calls the pipeline.
EDITORS: dict[str, Editor] = {
    "FluxKontextPipeline": Editor(1, kontext_size, guidance_scale=2.5),
    "QwenImageEditPipeline": Editor(1, about_area, needs=frozenset({"processor"})),
    "QwenImageEditPlusPipeline": Editor(3, about_area, needs=frozenset({"processor"})),
    "Flux2KleinPipeline": Editor(EDIT_PICTURES_MAX, klein_size, crops=True),
}


def editor_name(index: Mapping[str, Any]) -> str:
    """The row of `EDITORS` that a folder with this `model_index.json` is of; "" for one that cannot edit."""
    name = str(index.get("_class_name"))
    return name if name in EDITORS and all(index.get(part) for part in EDITORS[name].needs) else ""


def pictures_taken(model: ModelCard) -> int:
    """How many pictures an edit with this model looks at, the source included; 0 where it cannot edit."""
    return EDITORS[model.editor].pictures if model.editor in EDITORS else 0


def cannot_edit(title: str) -> str:
    """Why Edit is not offered, in a sentence."""
    return f"{title} repaints; editing by a sentence needs {EDITING_MODELS}."


def plan_edit(model: ModelCard, pictures: Sequence[Size]) -> Size:
    """The size that an edit is drawn at where nobody chose one: the shape of the source, as large as the model sees it.

    `pictures` are the sizes of all, the source first. Raises `InvalidRequest` about what this model cannot take.
    """
    if not (most := pictures_taken(model)):
        raise InvalidRequest(cannot_edit(model.title), "Choose Repaint, or one of these models.", "how")
    if len(pictures) > most:
        room = "only the source" if most == 1 else f"the source and {most - 1} more pictures"
        surplus = len(pictures) - most
        hint = f"Remove {'one' if surplus == 1 else surplus} of them."
        raise InvalidRequest(f"{model.title} looks at {room}, not at {len(pictures)} pictures.", hint, "pictures")
    for number, (width, height) in enumerate(pictures):
        if min(width, height) < _EDGE_MIN or max(width, height) > _RATIO_MAX * min(width, height):
            which, field = ("The source picture", "source") if number == 0 else (f"Picture {number + 1}", "pictures")
            limits = f"Choose one with edges of {_EDGE_MIN} pixels or more, at most {_RATIO_MAX} times as long as wide."
            raise InvalidRequest(f"{which} is {width} × {height}: no model can edit that.", limits, field)
    width, height = EDITORS[model.editor].looks_at(pictures[0])
    scale = min(1.0, _EDGE_MAX / max(width, height))
    return round(width * scale / _PATCH) * _PATCH, round(height * scale / _PATCH) * _PATCH
