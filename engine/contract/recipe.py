"""The recipe: a request with every open choice resolved. It is what runs, what is saved and what reproduces a picture."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.contract.errors import DamagedFile
from engine.contract.models import ModelCard
from engine.contract.requests import PROMPT_MAX, SEED_MAX, Count, Edge, Guidance, Seed, Steps, TextToImage
from engine.contract.schedulers import SchedulerName

RECIPE_VERSION = 1


class Recipe(BaseModel):
    """Complete and canonical. Picture k of `count` uses seed `seed + k` (modulo 2³²), so it can be made alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = RECIPE_VERSION
    mode: Literal["txt2img"] = "txt2img"
    model: str
    model_hash: str
    prompt: Annotated[str, Field(min_length=1, max_length=PROMPT_MAX)]
    negative_prompt: Annotated[str, Field(max_length=PROMPT_MAX)]
    steps: Steps
    guidance_scale: Guidance
    scheduler: SchedulerName
    width: Edge
    height: Edge
    seed: Seed
    count: Count

    def canonical_json(self) -> str:
        """Sorted keys, no spaces, real letters: equal recipes give equal bytes."""
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def digest(self) -> str:
        """SHA-256 of the canonical form, in hexadecimal."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    def for_picture(self, index: int) -> Recipe:
        """The recipe of one picture of the batch: count 1 and its own seed."""
        return self.model_copy(update={"seed": (self.seed + index) % (SEED_MAX + 1), "count": 1})

    def to_request(self) -> TextToImage:
        """The request that makes this picture again on the same model."""
        return TextToImage.model_validate(self.model_dump(exclude={"version", "model_hash"}))

    @staticmethod
    def from_json(text: str) -> Recipe:
        """Raises `DamagedFile` when the text is no recipe of a version we know."""
        try:
            return Recipe.model_validate_json(text)
        except ValidationError as error:
            raise DamagedFile("The recipe in this file cannot be read.", "It was altered, or made by a newer Easel.") from error


def resolve(request: TextToImage, model: ModelCard) -> Recipe:
    """Fill in what the request left open: the model's defaults and, without a seed, a random one."""
    width, height = model.default_size
    return Recipe(
        model=model.name,
        model_hash=model.content_hash,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        steps=model.default_steps if request.steps is None else request.steps,
        guidance_scale=model.default_guidance if request.guidance_scale is None else request.guidance_scale,
        scheduler=model.default_scheduler if request.scheduler is None else request.scheduler,
        width=width if request.width is None else request.width,
        height=height if request.height is None else request.height,
        seed=secrets.randbelow(SEED_MAX + 1) if request.seed is None else request.seed,
        count=request.count,
    )
