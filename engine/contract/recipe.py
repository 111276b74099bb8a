"""The recipe: a request with every open choice resolved. It is what runs, what is saved and what reproduces a picture."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.contract.errors import DamagedFile
from engine.contract.models import ModelCard
from engine.contract.requests import (
    PROMPT_MAX,
    REQUESTS,
    SEED_MAX,
    Count,
    Edge,
    Expand,
    Factor,
    Feather,
    Fill,
    Fit,
    Guidance,
    InputHash,
    Mode,
    Name,
    Overlap,
    Padding,
    Region,
    Request,
    Seamless,
    Seed,
    Share,
    Steps,
)
from engine.contract.schedulers import SchedulerName
from engine.contract.words import check_words

RECIPE_VERSION = 1
_NEEDED: dict[str, tuple[str, ...]] = {
    "txt2img": (),
    "img2img": ("source", "strength", "fit"),
    "inpaint": ("source", "strength", "region", "padding", "feather", "is_soft", "fill"),
    "upscale": ("source", "strength", "factor", "upscaler", "overlap"),
}


class Recipe(BaseModel):
    """Complete and canonical. What a mode does not use is None and is left out of the canonical form.

    Picture k of `count` uses seed `seed + k` (modulo 2³²), or variation seed `variation_seed + k` where there is a
    variation, so it can be made alone. `width` × `height` is what the model draws at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = RECIPE_VERSION
    mode: Mode = "txt2img"
    model: str
    model_hash: str
    prompt: Annotated[str, Field(max_length=PROMPT_MAX)]
    negative_prompt: Annotated[str, Field(max_length=PROMPT_MAX)]
    steps: Steps
    guidance_scale: Guidance
    scheduler: SchedulerName
    width: Edge
    height: Edge
    seed: Seed
    count: Count
    variation_seed: Seed | None = None
    variation_strength: Share | None = None
    seamless: Seamless | None = None
    source: InputHash | None = None
    strength: Share | None = None
    fit: Fit | None = None
    mask: InputHash | None = None
    expand_left: Expand | None = None
    expand_top: Expand | None = None
    expand_right: Expand | None = None
    expand_bottom: Expand | None = None
    region: Region | None = None
    padding: Padding | None = None
    feather: Feather | None = None
    is_soft: bool | None = None
    fill: Fill | None = None
    factor: Factor | None = None
    upscaler: Name | None = None
    upscaler_hash: str | None = None
    overlap: Overlap | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if any(getattr(self, name) is None for name in _NEEDED[self.mode]):
            raise ValueError(f"a recipe of {self.mode} needs {_NEEDED[self.mode]}")
        return self

    def canonical_json(self) -> str:
        """Sorted keys, no spaces, real letters, nothing unused: equal recipes give equal bytes."""
        return json.dumps(self.to_plain(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def to_plain(self) -> dict[str, object]:
        return self.model_dump(exclude_none=True)

    def digest(self) -> str:
        """SHA-256 of the canonical form, in hexadecimal."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    def for_picture(self, index: int) -> Recipe:
        """The recipe of one picture of the batch: count 1 and its own seed."""
        varied = "seed" if self.variation_seed is None else "variation_seed"
        return self.model_copy(update={varied: (getattr(self, varied) + index) % (SEED_MAX + 1), "count": 1})

    def to_request(self) -> Request:
        """The request that makes this picture again on the same model."""
        kind = REQUESTS[self.mode]
        return kind.model_validate({name: value for name, value in self.to_plain().items() if name in kind.model_fields})

    @property
    def inputs(self) -> tuple[str, ...]:
        """Hashes of the pictures that this recipe starts from."""
        return tuple(one for one in (self.source, self.mask) if one is not None)

    @property
    def steps_run(self) -> int:
        """Steps that are really walked: a source picture shortens the schedule (at least one step, unless there is none)."""
        if self.strength is None:
            return self.steps
        return max(1, min(int(self.steps * self.strength), self.steps)) if self.strength > 0 else 0

    @property
    def expand(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom growth of the frame in pixels."""
        return (self.expand_left or 0, self.expand_top or 0, self.expand_right or 0, self.expand_bottom or 0)

    @staticmethod
    def from_json(text: str) -> Recipe:
        """Raises `DamagedFile` when the text is no recipe of a version we know."""
        try:
            return Recipe.model_validate_json(text)
        except ValidationError as error:
            raise DamagedFile("The recipe in this file cannot be read.", "It was altered, or made by a newer Easel.") from error


def resolve(request: Request, model: ModelCard, *, upscaler: tuple[str, str] | None = None) -> Recipe:
    """Fill in what the request left open: the model's defaults and, without a seed, a random one.

    `upscaler` is the name and content hash of the upscaler that will run, for the mode that has one. Raises
    `InvalidRequest` for a weight that no picture survives.
    """
    for field in ("prompt", "negative_prompt"):
        check_words(getattr(request, field), field)
    width, height = model.default_size
    chosen = {name: value for name, value in request.model_dump().items() if value is not None}
    open_choices = {
        "width": width, "height": height, "steps": model.default_steps, "guidance_scale": model.default_guidance,
        "scheduler": model.default_scheduler, "seed": secrets.randbelow(SEED_MAX + 1),
    }  # fmt: skip
    if not request.variation_strength:
        chosen.pop("variation_seed", None)
        chosen.pop("variation_strength")
    else:
        open_choices["variation_seed"] = secrets.randbelow(SEED_MAX + 1)
    fixed: dict[str, object] = {"model": model.name, "model_hash": model.content_hash}
    if upscaler is not None:
        fixed["upscaler"], fixed["upscaler_hash"] = upscaler
    return Recipe.model_validate({**open_choices, **chosen, **fixed})
