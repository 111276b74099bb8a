"""Reference pictures as a request names them (IP-Adapter, Ye et al. 2023), and what a page may know about an adapter without loading it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from engine.contract.errors import InvalidRequest
from engine.contract.models import ModelCard

REFERENCES_MAX = 4
REFERENCE_WEIGHT_MAX = 2.0
# Words and picture both heard: what the paper's authors suggest lies between 0.5 and 1.
REFERENCE_WEIGHT = 0.6
REFERENCES_HINT = f"Give at most {REFERENCES_MAX} pictures, each with a weight from 0 to {REFERENCE_WEIGHT_MAX:g}, a start and an end."

_NAME = r"^[A-Za-z0-9._-]{1,64}$"
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
ReferenceWeight = Annotated[float, Field(ge=0, le=REFERENCE_WEIGHT_MAX, allow_inf_nan=False)]
# How a picture becomes tokens: one linear map of its embedding, a map of every patch, or a resampler over the patches.
Projection = Literal["linear", "full", "plus"]


class ReferenceUse(BaseModel):
    """One picture that the denoiser sees beside the words. `image` is the hash of an input.

    It counts at model call i of n where start ≤ i/n and (i + 1)/n ≤ end, as a ControlNet's window in diffusers does.
    `adapter` and `image_encoder` None mean the model's own, or else the first that fits. With `style_only` just the layers
    see it that carry style (InstantStyle, Wang et al. 2024). A recipe has all names, and the hashes of their files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    weight: ReferenceWeight = REFERENCE_WEIGHT
    start: _Share = 0.0
    end: _Share = 1.0
    style_only: bool = False
    adapter: Annotated[str, Field(pattern=_NAME)] | None = None
    hash: str | None = None
    # "model" is the encoder in the model's own folder.
    image_encoder: Annotated[str, Field(pattern=_NAME)] | None = None
    image_encoder_hash: str | None = None

    @field_validator("weight", "start", "end", mode="before")
    @classmethod
    def _refuse_truth_values(cls, value: object) -> object:
        # Python counts True as 1; a checkbox wired to a number field is a mistake, not a one.
        if isinstance(value, bool):
            raise ValueError("not a number")
        return value

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.start > self.end:
            raise PydanticCustomError("reversed", "ends before it starts")
        return self

    @property
    def is_nothing(self) -> bool:
        return self.weight == 0 or self.start == self.end

    def weight_at(self, index: int, total: int) -> float:
        """What it weighs at model call `index` (from 0) of `total`."""
        is_inside = index / total >= self.start and (index + 1) / total <= self.end
        return self.weight if is_inside else 0.0


class ReferenceAdapterCard(BaseModel):
    """Facts from the header of an adapter's file.

    `width` is that of the text embeddings of the models it was made for, `layers` the width of each of their
    cross-attention layers, `image_width` that of what it reads from an image encoder, `tokens` how many it makes of a picture.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    made_for: str = ""
    licence: str = ""
    projection: Projection | None = None
    tokens: int = 0
    width: int | None = None
    image_width: int | None = None
    layers: tuple[int, ...] = ()
    # The image encoder that it was trained with, where its file says so.
    image_encoder: str | None = None
    bytes_on_disk: int = 0
    content_hash: str = ""
    # Why it cannot be used, in words; None where nothing is known against it.
    refusal: str | None = None

    def misfit(self, model: ModelCard) -> str | None:
        """Why it cannot be used with this model, as "it …"; None where it can."""
        if self.refusal is not None or (self.width == model.text_width and self.layers == model.attention_widths):
            return self.refusal
        made_for = f"made for {self.made_for}, not" if self.made_for and self.width != model.text_width else "not made"
        return f"it was {made_for} for {model.title}."


def explain_reference(place: tuple[Any, ...], kind: str, given: str) -> InvalidRequest:
    """What is wrong with the references of a request. `place` is where below the field, `given` what stands there, shortened."""
    if kind == "too_long":
        return InvalidRequest(f"That would be more than {REFERENCES_MAX} reference pictures.", f"Use at most {REFERENCES_MAX}.", "references")
    if not place or not isinstance(place[0], int):
        return InvalidRequest(f"Reference pictures cannot be {given}.", REFERENCES_HINT, "references")
    which = f"reference picture {place[0] + 1}"
    if kind == "reversed":
        return InvalidRequest(f"The window of {which} ends before it starts.", "Choose an end after the start, both from 0 to 1.", "references")
    part = str(place[1]) if len(place) > 1 else ""
    if kind == "extra_forbidden":
        return InvalidRequest(f"A reference picture has nothing named {part[:40]!r}.", f"It has {', '.join(_SETTINGS)}.", "references")
    if kind == "missing" or not part:
        return InvalidRequest(f"There is no picture in {which}.", "Drop one there, or take it out.", "references")
    return InvalidRequest(f"The {part.replace('_', ' ')} of {which} cannot be {given}.", _HINTS.get(part, REFERENCES_HINT), "references")


_SETTINGS = ("image", "weight", "start", "end", "style_only", "adapter", "image_encoder")
_HINTS = {
    "image": "Choose the picture again.",
    "weight": f"Choose a number from 0 to {REFERENCE_WEIGHT_MAX:g}.",
    "start": "Choose a share of the steps from 0 to 1.",
    "end": "Choose a share of the steps from 0 to 1.",
    "style_only": "Choose yes or no.",
    "adapter": "Choose an adapter from the list, or leave it open.",
    "image_encoder": "Leave it open.",
}


def without_nothing(uses: Iterable[ReferenceUse]) -> tuple[ReferenceUse, ...]:
    """The uses that can change a picture: those of no weight or with an empty window are left out."""
    return tuple(use for use in uses if not use.is_nothing)
