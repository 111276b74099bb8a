"""What a person may ask for: one frozen class per mode, bounds checked once, here, for page, API and terminal alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from engine.contract.errors import InvalidRequest
from engine.contract.schedulers import SCHEDULER_LABELS, SchedulerName, scheduler_key

PROMPT_MAX = 4_000
STEPS_MAX = 200
GUIDANCE_MAX = 30.0
SIZE_MIN, SIZE_MAX, SIZE_MULTIPLE = 64, 2_048, 8
COUNT_MAX = 16
SEED_MAX = 2**32 - 1

CONTROL_NAMES = {
    "prompt": "Prompt",
    "negative_prompt": "Negative prompt",
    "steps": "Steps",
    "guidance_scale": "Guidance",
    "scheduler": "Sampler",
    "width": "Width",
    "height": "Height",
    "seed": "Seed",
    "count": "Count",
    "model": "Model",
}

Steps = Annotated[int, Field(ge=1, le=STEPS_MAX)]
Guidance = Annotated[float, Field(ge=0, le=GUIDANCE_MAX, allow_inf_nan=False)]
Edge = Annotated[int, Field(ge=SIZE_MIN, le=SIZE_MAX, multiple_of=SIZE_MULTIPLE)]
Seed = Annotated[int, Field(ge=0, le=SEED_MAX)]
Count = Annotated[int, Field(ge=1, le=COUNT_MAX)]


class TextToImage(BaseModel):
    """A picture from words. `None` means "not chosen": the model's own default, or a random seed, is filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["txt2img"] = "txt2img"
    prompt: Annotated[str, Field(min_length=1, max_length=PROMPT_MAX)]
    negative_prompt: Annotated[str, Field(max_length=PROMPT_MAX)] = ""
    steps: Steps | None = None
    guidance_scale: Guidance | None = None
    scheduler: SchedulerName | None = None
    width: Edge | None = None
    height: Edge | None = None
    seed: Seed | None = None
    count: Count = 1
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None

    @field_validator("prompt", mode="after")
    @classmethod
    def _has_words(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("empty")
        return prompt

    @field_validator("scheduler", mode="before")
    @classmethod
    def _accept_label(cls, name: object) -> object:
        return scheduler_key(name) or name if isinstance(name, str) else name

    @field_validator("steps", "width", "height", "seed", "count", "guidance_scale", mode="before")
    @classmethod
    def _refuse_truth_values(cls, value: object) -> object:
        # Python counts True as 1; a checkbox wired to a number field is a mistake, not a one.
        if isinstance(value, bool):
            raise ValueError("not a number")
        return value


def parse_text_to_image(values: Mapping[str, Any]) -> TextToImage:
    """A checked request from loose values. Raises `InvalidRequest` that names the first control at fault."""
    try:
        return TextToImage.model_validate(dict(values))
    except ValidationError as error:
        raise _in_words(error.errors(include_url=False, include_context=True)[0]) from None


def _in_words(detail: ErrorDetails) -> InvalidRequest:
    field = str(detail["loc"][0]) if detail["loc"] else None
    control = CONTROL_NAMES.get(field or "", field or "The request")
    if detail["type"] == "extra_forbidden":
        return InvalidRequest(f"There is no control named {_shown(field)}.", "Remove it from the request.", field)
    if field == "prompt":
        if detail["type"] == "string_too_long":
            return _too_long(control, field)
        return InvalidRequest("The prompt is empty.", "Write what you want to see, for example “a red castle at sunset”.", field)
    if field == "negative_prompt" and detail["type"] == "string_too_long":
        return _too_long(control, field)
    return InvalidRequest(f"{control} cannot be {_shown(detail['input'])}.", _HINTS.get(field or "", "Check this value."), field)


_SIZE_HINT = f"Choose {SIZE_MIN} to {SIZE_MAX} pixels, in steps of {SIZE_MULTIPLE}."
_HINTS = {
    "negative_prompt": "Write words, or leave it empty.",
    "steps": f"Choose a whole number from 1 to {STEPS_MAX}.",
    "guidance_scale": f"Choose a number from 0 to {GUIDANCE_MAX:g}.",
    "scheduler": f"Choose one of {', '.join(SCHEDULER_LABELS.values())}.",
    "width": _SIZE_HINT,
    "height": _SIZE_HINT,
    "seed": f"Choose a whole number from 0 to {SEED_MAX}, or leave it open.",
    "count": f"Choose a whole number from 1 to {COUNT_MAX}.",
    "model": "Choose a model from the list.",
}


def _too_long(control: str, field: str) -> InvalidRequest:
    return InvalidRequest(f"{control} is too long.", f"Keep it under {PROMPT_MAX:,} characters.", field)


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else text[:37] + "…"
