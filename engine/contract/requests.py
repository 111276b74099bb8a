"""What a person may ask for: one frozen class per mode, bounds checked once, here, for page, API and terminal alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from engine.contract.adapters import LORAS_HINT, LORAS_MAX, LoraUse
from engine.contract.controls import CONTROLS_MAX, ControlUse, unit_error
from engine.contract.editing import EDIT_PICTURES_MAX
from engine.contract.errors import InvalidRequest
from engine.contract.guidance import (
    GUIDANCE_CONTROLS,
    GUIDANCE_HINTS,
    SCORE_DEFAULT,
    GuidanceShare,
    PerturbedScale,
    ScoreField,
    ScoreScale,
    ScoreTarget,
    StyleField,
)
from engine.contract.references import REFERENCES_HINT, REFERENCES_MAX, ReferenceUse, explain_reference
from engine.contract.schedulers import SCHEDULE_LABELS, SCHEDULER_LABELS, ScheduleName, SchedulerName, schedule_key, scheduler_key

PROMPT_MAX = 4_000
STEPS_MAX = 200
GUIDANCE_MAX = 30.0
SIZE_MIN, SIZE_MAX, SIZE_MULTIPLE = 64, 2_048, 8
COUNT_MAX = 16
SEED_MAX = 2**32 - 1
EXPAND_MAX = 1_024
PADDING_MAX = 512
FEATHER_MAX = 256.0
CLIP_SKIP_MAX = 12

Mode = Literal["txt2img", "img2img", "edit", "inpaint", "upscale"]
Fit = Literal["crop", "pad", "stretch"]
Region = Literal["masked", "whole"]
Fill = Literal["original", "blur", "neighbours", "noise"]
Seamless = Literal["x", "y", "xy"]

CONTROL_NAMES = {
    "prompt": "Prompt",
    "negative_prompt": "Negative prompt",
    "steps": "Steps",
    "guidance_scale": "Guidance",
    "scheduler": "Sampler",
    "schedule": "Noise schedule",
    "width": "Width",
    "height": "Height",
    "seed": "Seed",
    "count": "Count",
    "model": "Model",
    "mode": "Mode",
    "variation_seed": "Variation seed",
    "variation_strength": "Variation",
    "seamless": "Seamless",
    "clip_skip": "Clip skip",
    "vae": "VAE",
    "loras": "LoRA",
    "controls": "Control",
    "references": "Reference pictures",
    "source": "Source picture",
    "how": "Repaint or edit",
    "pictures": "More pictures",
    "strength": "Strength",
    "fit": "Fit",
    "mask": "Mask",
    "expand_left": "Grow left",
    "expand_top": "Grow top",
    "expand_right": "Grow right",
    "expand_bottom": "Grow bottom",
    "region": "Work on",
    "padding": "Context",
    "feather": "Feather",
    "is_soft": "Soft mask",
    "fill": "Fill",
    "factor": "Enlarge",
    "upscaler": "Upscaler",
    "overlap": "Overlap",
    **GUIDANCE_CONTROLS,
}

Steps = Annotated[int, Field(ge=1, le=STEPS_MAX)]
Guidance = Annotated[float, Field(ge=0, le=GUIDANCE_MAX, allow_inf_nan=False)]
Edge = Annotated[int, Field(ge=SIZE_MIN, le=SIZE_MAX, multiple_of=SIZE_MULTIPLE)]
Seed = Annotated[int, Field(ge=0, le=SEED_MAX)]
Count = Annotated[int, Field(ge=1, le=COUNT_MAX)]
Strength = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
# The SHA-256 of a picture in the library of inputs.
InputHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Expand = Annotated[int, Field(ge=0, le=EXPAND_MAX)]
Padding = Annotated[int, Field(ge=0, le=PADDING_MAX)]
Feather = Annotated[float, Field(ge=0, le=FEATHER_MAX, allow_inf_nan=False)]
Factor = Literal[2, 4]
Overlap = Annotated[int, Field(ge=16, le=256, multiple_of=8)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
# Which layer of the text encoder speaks, counted from its end as people count it: 1 is the last, 2 the last but one.
ClipSkip = Annotated[int, Field(ge=1, le=CLIP_SKIP_MAX)]


class Drawing(BaseModel):
    """What every mode shares. `None` means "not chosen": the model's own default, or a random seed, is filled in.

    With a variation, the first noise is turned from `seed` towards `variation_seed` by `variation_strength`, and the
    pictures of a batch differ in their variation seed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Annotated[str, Field(min_length=1, max_length=PROMPT_MAX)]
    negative_prompt: Annotated[str, Field(max_length=PROMPT_MAX)] = ""
    steps: Steps | None = None
    guidance_scale: Guidance | None = None
    scheduler: SchedulerName | None = None
    schedule: ScheduleName | None = None
    width: Edge | None = None
    height: Edge | None = None
    seed: Seed | None = None
    count: Count = 1
    model: Name | None = None
    variation_seed: Seed | None = None
    variation_strength: Share = 0.0
    seamless: Seamless | None = None
    clip_skip: ClipSkip | None = None
    vae: Name | None = None
    loras: Annotated[tuple[LoraUse, ...], Field(max_length=LORAS_MAX)] = ()
    guidance_style: StyleField = "cfg"
    guidance_rescale: GuidanceShare = 0.0
    guidance_start: GuidanceShare = 0.0
    guidance_end: GuidanceShare = 1.0
    perturbed_scale: PerturbedScale | None = None
    score_guidance: ScoreField | None = None
    score_scale: ScoreScale = SCORE_DEFAULT
    score_target: ScoreTarget = ""
    controls: Annotated[tuple[ControlUse, ...], Field(max_length=CONTROLS_MAX)] = ()
    references: Annotated[tuple[ReferenceUse, ...], Field(max_length=REFERENCES_MAX)] = ()

    @field_validator("prompt", mode="after")
    @classmethod
    def _has_words(cls, prompt: str) -> str:
        if cls.needs_words() and not prompt.strip():
            raise ValueError("empty")
        return prompt

    @field_validator("scheduler", mode="before")
    @classmethod
    def _accept_label(cls, name: object) -> object:
        return scheduler_key(name) or name if isinstance(name, str) else name

    @field_validator("schedule", mode="before")
    @classmethod
    def _accept_schedule_label(cls, name: object) -> object:
        return schedule_key(name) or name if isinstance(name, str) else name

    @field_validator(
        "steps", "width", "height", "seed", "count", "guidance_scale", "variation_seed", "variation_strength", "strength", "padding", "feather",
        "factor", "overlap", "expand_left", "expand_top", "expand_right", "expand_bottom", "clip_skip", mode="before", check_fields=False,
    )  # fmt: skip
    @classmethod
    def _refuse_truth_values(cls, value: object) -> object:
        # Python counts True as 1; a checkbox wired to a number field is a mistake, not a one.
        if isinstance(value, bool):
            raise ValueError("not a number")
        return value

    @classmethod
    def needs_words(cls) -> bool:
        return True


class TextToImage(Drawing):
    """A picture from words."""

    mode: Literal["txt2img"] = "txt2img"


class ImageToImage(Drawing):
    """A picture from words and a source. `strength` is the share of the noise schedule that is walked again."""

    mode: Literal["img2img"] = "img2img"
    source: InputHash
    strength: Strength = 0.6
    fit: Fit = "crop"


class Edit(Drawing):
    """A source changed as a sentence says, by a model that was taught to. `pictures` are more that it may speak of, in order.

    There is no strength: the sentence says how much. Without width and height it is drawn in the shape of the source.
    """

    mode: Literal["edit"] = "edit"
    source: InputHash
    pictures: Annotated[tuple[InputHash, ...], Field(max_length=EDIT_PICTURES_MAX - 1)] = ()


class Inpaint(Drawing):
    """A part of a picture drawn anew, or a larger frame filled; at least one of mask and growth is given.

    In a mask white, 1.0, means repaint; it has the size of the source. `expand_*` are pixels of the source, `padding`
    and `feather` too. `width` × `height` is how much is drawn at once; the result has the size of the (grown) source.
    """

    mode: Literal["inpaint"] = "inpaint"
    source: InputHash
    mask: InputHash | None = None
    strength: Strength = 0.9
    expand_left: Expand = 0
    expand_top: Expand = 0
    expand_right: Expand = 0
    expand_bottom: Expand = 0
    region: Region = "masked"
    padding: Padding = 32
    feather: Feather = 8.0
    is_soft: bool = False
    fill: Fill = "original"

    @model_validator(mode="after")
    def _has_something_to_do(self) -> Self:
        if self.mask is None and not (self.expand_left or self.expand_top or self.expand_right or self.expand_bottom):
            raise PydanticCustomError("no_mask", "nothing is masked")
        return self


class Upscale(Drawing):
    """A larger picture: enlarged by `upscaler`, then drawn over in tiles of `width` × `height` where `strength` is above 0."""

    mode: Literal["upscale"] = "upscale"
    prompt: Annotated[str, Field(max_length=PROMPT_MAX)] = ""
    source: InputHash
    factor: Factor = 2
    upscaler: Name | None = None
    strength: Share = 0.3
    overlap: Overlap = 64

    @field_validator("factor", mode="before")
    @classmethod
    def _whole_number(cls, value: object) -> object:
        # Forms and terminals write "2", "×2" and 2.0 for the same wish.
        text = str(value).strip().lstrip("×x")
        return int(float(text)) if text in ("2", "4", "2.0", "4.0") else value

    @model_validator(mode="after")
    def _draws_what_is_controlled(self) -> Self:
        if self.controls and not self.strength:
            raise PydanticCustomError(
                "control_unit",
                "idle",
                {"what": "At strength 0 nothing is drawn that a control could steer.", "hint": "Raise Strength, or turn the units off."},
            )
        return self

    @classmethod
    def needs_words(cls) -> bool:
        return False


Request = TextToImage | ImageToImage | Edit | Inpaint | Upscale
REQUESTS: dict[str, type[TextToImage | ImageToImage | Edit | Inpaint | Upscale]] = {
    "txt2img": TextToImage, "img2img": ImageToImage, "edit": Edit, "inpaint": Inpaint, "upscale": Upscale,
}  # fmt: skip


def parse_request(values: Mapping[str, Any]) -> Request:
    """A checked request from loose values; `mode` names the class, "txt2img" if it is left out.

    Raises `InvalidRequest` that names the first control at fault.
    """
    mode = values.get("mode", "txt2img")
    kind = REQUESTS.get(mode) if isinstance(mode, str) else None
    if kind is None:
        raise InvalidRequest(f"There is no mode named {_shown(mode)}.", f"Choose one of {', '.join(REQUESTS)}.", "mode")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise _in_words(error.errors(include_url=False, include_context=True)[0], kind) from None


def _in_words(detail: ErrorDetails, kind: type[Request]) -> InvalidRequest:
    field = str(detail["loc"][0]) if detail["loc"] else None
    control = CONTROL_NAMES.get(field or "", field or "The request")
    if detail["type"] == "no_mask":
        return InvalidRequest("Nothing is masked.", "Paint over what should change, or grow the frame.", "mask")
    if field == "controls" or detail["type"] == "control_unit":
        return unit_error(detail)
    if detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1:
        if kind is Edit and field in CONTROL_NAMES:
            return InvalidRequest(f"{control} has no meaning in an edit: the sentence says what changes.", _NOT_IN_EDITS, field)
        return InvalidRequest(f"There is no control named {_shown(field)}.", "Remove it from the request.", field)
    if field == "source" and detail["type"] == "missing":
        return InvalidRequest("There is no source picture.", _HINTS["source"], field)
    if field == "prompt":
        if detail["type"] == "string_too_long":
            return _too_long(control, field)
        hint = (
            "Say what to change, for example “make it night”."
            if kind is Edit
            else "Write what you want to see, for example “a red castle at sunset”."
        )
        return InvalidRequest("The prompt is empty.", hint, field)
    if field == "negative_prompt" and detail["type"] == "string_too_long":
        return _too_long(control, field)
    if field == "pictures" and detail["type"] == "too_long":
        return InvalidRequest(f"An edit looks at {EDIT_PICTURES_MAX} pictures at most, the source included.", "Remove some of them.", field)
    if field == "references":
        return explain_reference(detail["loc"][1:], detail["type"], _shown(detail["input"]))
    return InvalidRequest(f"{control} cannot be {_shown(detail['input'])}.", _HINTS.get(field or "", "Check this value."), field)


_SIZE_HINT = f"Choose {SIZE_MIN} to {SIZE_MAX} pixels, in steps of {SIZE_MULTIPLE}."
_EXPAND_HINT = f"Choose 0 to {EXPAND_MAX} pixels."
_NOT_IN_EDITS = "Leave it out, or choose Repaint or Inpaint."
_SEED_HINT = f"Choose a whole number from 0 to {SEED_MAX}, or leave it open."
_HINTS = {
    "negative_prompt": "Write words, or leave it empty.",
    "steps": f"Choose a whole number from 1 to {STEPS_MAX}.",
    "guidance_scale": f"Choose a number from 0 to {GUIDANCE_MAX:g}.",
    "scheduler": f"Choose one of {', '.join(SCHEDULER_LABELS.values())}.",
    "schedule": f"Choose one of {', '.join(SCHEDULE_LABELS.values())}, or leave it open.",
    "width": _SIZE_HINT,
    "height": _SIZE_HINT,
    "seed": _SEED_HINT,
    "count": f"Choose a whole number from 1 to {COUNT_MAX}.",
    "model": "Choose a model from the list.",
    "variation_seed": _SEED_HINT,
    "variation_strength": "Choose a number from 0 to 1.",
    "seamless": "Choose x, y or xy, or leave it open.",
    "clip_skip": f"Choose 1 for the last layer, up to {CLIP_SKIP_MAX}, or leave it open.",
    "vae": "Choose a VAE from the list, or leave it open.",
    "loras": LORAS_HINT,
    "references": REFERENCES_HINT,
    "source": "Drop a picture here, paste one, or send one from the results.",
    "pictures": "Choose the picture again.",
    "strength": "Choose a number above 0, up to 1.",
    "fit": "Choose crop, pad or stretch.",
    "mask": "Paint over what should change.",
    "expand_left": _EXPAND_HINT,
    "expand_top": _EXPAND_HINT,
    "expand_right": _EXPAND_HINT,
    "expand_bottom": _EXPAND_HINT,
    "region": "Choose masked or whole.",
    "padding": f"Choose 0 to {PADDING_MAX} pixels.",
    "feather": f"Choose 0 to {FEATHER_MAX:g} pixels.",
    "is_soft": "Choose yes or no.",
    "fill": "Choose original, blur, neighbours or noise.",
    "factor": "Choose 2 or 4.",
    "upscaler": "Choose an upscaler from the list.",
    "overlap": "Choose 16 to 256 pixels, in steps of 8.",
    **GUIDANCE_HINTS,
}


def _too_long(control: str, field: str) -> InvalidRequest:
    return InvalidRequest(f"{control} is too long.", f"Keep it under {PROMPT_MAX:,} characters.", field)


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else text[:37] + "…"
