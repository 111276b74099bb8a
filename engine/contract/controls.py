"""ControlNet units as a request names them, and what a page may know about controls and preprocessors without loading them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from engine.contract.errors import InvalidRequest
from engine.contract.models import ModelCard
from engine.contract.preprocessors import NO_PREPROCESSOR, PREPROCESSORS, Kind, Knob

CONTROLS_MAX = 8
CONTROL_WEIGHT_MAX = 2.0
_HASH = r"^[0-9a-f]{64}$"
_NAME = r"^[A-Za-z0-9._-]{1,64}$"
_NAMES = {"image": "picture", "control": "model", "preprocessor": "preprocessor", "weight": "weight", "start": "start", "end": "end", "fit": "fit"}
_UNIT_HINTS = {
    "image": "Drop a picture into the card, or turn the card off.",
    "control": "Choose a control model from the list.",
    "weight": f"Choose a number from 0 to {CONTROL_WEIGHT_MAX:g}.",
    "start": "Choose a share of the steps from 0 to 1.",
    "end": "Choose a share of the steps from 0 to 1.",
    "fit": "Choose crop, pad or stretch.",
}

_Part = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class ControlUse(BaseModel):
    """One unit: a picture, what makes a map of it, the control model that reads the map, how much and in which part of the steps.

    `preprocessor` "none" means that the picture already is a map. `fit` brings the map to the size that is drawn.
    `control_hash` is of the model's file and `map` names the finished map: a recipe has both, a request leaves them open.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Annotated[str, Field(pattern=_HASH)]
    preprocessor: str = NO_PREPROCESSOR
    settings: dict[str, float] = Field(default_factory=dict)
    control: Annotated[str, Field(pattern=_NAME)] | None = None
    weight: Annotated[float, Field(ge=0, le=CONTROL_WEIGHT_MAX, allow_inf_nan=False)] = 1.0
    start: _Part = 0.0
    end: _Part = 1.0
    fit: Literal["crop", "pad", "stretch"] = "crop"
    control_hash: str | None = None
    map: Annotated[str, Field(pattern=_HASH)] | None = None

    @field_validator("weight", "start", "end", mode="before")
    @classmethod
    def _refuse_truth_values(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError("not a number")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        try:
            if self.start > self.end:
                raise _refused(f"A control unit starts at {self.start:g} and ends at {self.end:g}.", "Let it end after it starts.")
            check_settings(self.preprocessor, self.settings)
        except InvalidRequest as error:
            # pydantic passes on only errors of its own kind; `unit_error` turns this one back.
            raise PydanticCustomError("control_unit", "{what}", {"what": error.message, "hint": error.hint}) from error
        return self

    @property
    def is_idle(self) -> bool:
        """Whether it changes nothing whatever the map: no weight, or no time."""
        return self.weight == 0 or self.start == self.end

    def acts_at(self, call: int, calls: int) -> bool:
        """Whether model call `call` of `calls` lies wholly inside its window, as diffusers counts."""
        return not (call / calls < self.start or (call + 1) / calls > self.end)


class ControlCard(BaseModel):
    """Facts from the header of a control model's file. `width` is the size of the text embeddings that it was made for.

    `preprocessor` makes the kind of map that it was taught with. `residuals` are the channels of what it adds, in order.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    kind: Kind = "other"
    preprocessor: str = NO_PREPROCESSOR
    family: str = ""
    width: int | None = None
    residuals: tuple[int, ...] = ()
    licence: str = ""
    note: str = ""
    bytes_on_disk: int = 0
    content_hash: str = ""
    # Why it cannot be used, in words; None where nothing is known against it.
    problem: str | None = None

    def why_not(self, model: ModelCard) -> str | None:
        """Why it does not go with this model, as a sentence; None where it does."""
        if self.problem is not None:
            return f"The control {self.title} cannot be used: {self.problem}"
        reason = self.misfit(model)
        return None if reason is None else f"The control {self.title} {reason.removeprefix('it ')}"

    def misfit(self, model: ModelCard) -> str | None:
        """The same in few words, for a list that names it already."""
        if self.problem is not None:
            return self.problem
        if self.width is not None and model.text_width is not None and self.width != model.text_width:
            return f"it was made for {self.family or 'another model'}, not for {model.title}."
        if self.residuals and model.residuals and self.residuals != model.residuals:
            return f"it was made for another model than {model.title}."
        return None


class PreprocessorCard(BaseModel):
    """A way to make a map. One whose weights are not here is shown with what they weigh and under which licence."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    line: str
    kind: Kind
    licence: str
    needs_download: bool
    size_mb: int
    is_ready: bool
    settings: tuple[Knob, ...]


def check_settings(preprocessor: str, settings: Mapping[str, float]) -> dict[str, float]:
    """Every setting of a preprocessor, with what was left open filled in. Raises `InvalidRequest` about "controls"."""
    if preprocessor == NO_PREPROCESSOR:
        if settings:
            raise _refused("A picture that already is a map has no settings.", "Leave them out, or choose a preprocessor.")
        return {}
    facts = PREPROCESSORS.get(preprocessor)
    if facts is None:
        raise _refused(f"There is no preprocessor named {preprocessor[:40]!r}.", f"Choose {NO_PREPROCESSOR}, {', '.join(PREPROCESSORS)}.")
    knobs = {knob.name: knob for knob in facts.knobs}
    for name, value in settings.items():
        knob = knobs.get(name)
        if knob is None:
            known = f"It has {', '.join(knobs)}." if knobs else "It has none."
            raise _refused(f"{facts.title} has no setting named {name[:40]!r}.", known)
        if not knob.minimum <= value <= knob.maximum or (knob.is_whole and value % 1):
            kind = "whole number" if knob.is_whole else "number"
            raise _refused(f"{knob.title} of {facts.title} cannot be {value:.10g}.", f"Choose a {kind} from {knob.minimum:g} to {knob.maximum:.10g}.")
    whole = {name: float(settings.get(name, knob.default)) for name, knob in knobs.items()}
    if preprocessor == "canny" and whole["low"] > whole["high"]:
        raise _refused("Canny's weak edges begin above its strong ones.", "Lower the first threshold, or raise the second.")
    return whole


def unit_error(detail: ErrorDetails) -> InvalidRequest:
    """What is wrong with the list of units, in words that name the unit and its control."""
    path = detail["loc"][1:]
    if detail["type"] == "control_unit":
        context = detail.get("ctx", {})
        return InvalidRequest(str(context["what"]), str(context["hint"]), "controls")
    if len(path) < 2 or not isinstance(path[0], int):
        return InvalidRequest("The control units cannot be read.", f"Give at most {CONTROLS_MAX}, each with a picture.", "controls")
    name, which = str(path[1]), f"control unit {path[0] + 1}"
    if detail["type"] == "missing":
        return InvalidRequest(f"There is no {_NAMES.get(name, name)} in {which}.", _UNIT_HINTS.get(name, ""), "controls")
    if detail["type"] == "extra_forbidden":
        return InvalidRequest(f"There is no {name[:40]!r} in a control unit.", "Remove it from the request.", "controls")
    shown = repr(detail["input"]) if isinstance(detail["input"], str) else str(detail["input"])
    return InvalidRequest(f"The {_NAMES.get(name, name)} of {which} cannot be {shown[:40]}.", _UNIT_HINTS.get(name, "Check this value."), "controls")


def _refused(what: str, hint: str) -> InvalidRequest:
    return InvalidRequest(what, hint, "controls")
