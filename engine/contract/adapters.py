"""LoRA adapters as a request names them, and what a page may know about one without loading it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.contract.errors import InvalidRequest
from engine.contract.families import FAMILIES
from engine.contract.models import ModelCard

LORAS_MAX = 8
LORA_WEIGHT_MAX = 2.0
_NAME = r"^[A-Za-z0-9._-]{1,64}$"
_TAG = re.compile(r"<lora:([^<>:]*)(?::([^<>]*))?>", re.IGNORECASE)

LoraWeight = Annotated[float, Field(ge=-LORA_WEIGHT_MAX, le=LORA_WEIGHT_MAX, allow_inf_nan=False)]
# A side of the denoiser, a block of it, a layer of that: "up", "up.1", "up.1.0". Between the sides lies "mid".
Block = Annotated[str, Field(pattern=r"^(mid|(down|up)(\.\d{1,2}){0,2})$")]
LORAS_HINT = f"Name at most {LORAS_MAX} from the rack, each with a weight from -2 to 2; blocks are down, mid, up, up.1 or up.1.0."


class LoraUse(BaseModel):
    """One adapter and how much of it. `hash` is of its file: a recipe has it, a request leaves it open.

    `blocks` multiply the weight in parts of the denoiser; the finest one that names a layer counts, and 1 elsewhere.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=_NAME)]
    weight: LoraWeight = 1.0
    blocks: dict[Block, LoraWeight] | None = None
    hash: str | None = None

    @field_validator("blocks", mode="after")
    @classmethod
    def _leave_out_what_changes_nothing(cls, blocks: dict[str, float] | None) -> dict[str, float] | None:
        return None if blocks is None or all(weight == 1 for weight in blocks.values()) else blocks


class LoraCard(BaseModel):
    """Facts from the header of an adapter's file. `width` is the size of the text embeddings that it was made for."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    trigger: str = ""
    licence: str = ""
    made_for: str = ""
    family: str = ""
    width: int | None = None
    has_text_encoder: bool = False
    # Made to draw in a handful of steps, without guidance.
    is_few_steps: bool = False
    bytes_on_disk: int = 0
    content_hash: str = ""
    # Where on the hub it was fetched from: repository, commit and file.
    source: str = ""
    # Changes with the small picture beside the file; None where there is none.
    picture: str | None = None
    # Why it cannot be used, in words; None where nothing is known against it.
    refusal: str | None = None

    def misfit(self, model: ModelCard) -> str | None:
        """Why it cannot be used with this model, as "it …"; None where it can."""
        if self.refusal is not None:
            return self.refusal
        if self.width is not None and model.text_width is not None:
            is_other = self.width != model.text_width
        else:
            is_other = self.family in FAMILIES and self.family != model.family
        return f"it was made for {self.made_for or 'another model'}, not for {model.title}." if is_other else None


def take_tags(prompt: str) -> tuple[str, tuple[LoraUse, ...]]:
    """The prompt without its `<lora:name:0.8>` tags, and what they ask for. Raises `InvalidRequest` for one that is malformed."""
    uses: list[LoraUse] = []
    for name, weight in _TAG.findall(prompt):
        if not re.fullmatch(_NAME, name.strip()):
            raise InvalidRequest(f"There is no LoRA named {name.strip()[:40]!r}.", "Write <lora:name:0.8> with the name on its card.", "loras")
        try:
            value = float(weight) if weight.strip() else 1.0
        except ValueError:
            value = float("nan")
        if not -LORA_WEIGHT_MAX <= value <= LORA_WEIGHT_MAX:
            raise InvalidRequest(f"The weight of <lora:{name.strip()}:{weight[:20]}> is none.", "Choose a number from -2 to 2.", "loras")
        uses.append(LoraUse(name=name.strip(), weight=value))
    return re.sub(r"\s{2,}", " ", _TAG.sub("", prompt)).strip() if uses else prompt, tuple(uses)


def merge_uses(*groups: tuple[LoraUse, ...]) -> tuple[LoraUse, ...]:
    """All uses in order, each adapter once: asked for twice, its weights add up. What comes to nothing is left out."""
    weights: dict[str, float] = {}
    blocks: dict[str, dict[str, float] | None] = {}
    for use in (use for group in groups for use in group):
        weights[use.name] = weights.get(use.name, 0.0) + use.weight
        # Two weights have a sum; two sets of blocks have none.
        if blocks.setdefault(use.name, use.blocks) != use.blocks:
            message = f"The LoRA {use.name} is asked for twice, with different weights for its blocks."
            raise InvalidRequest(message, "Ask for it once.", "loras")
    if len(weights) > LORAS_MAX:
        raise InvalidRequest(f"That would be {len(weights)} LoRAs at once.", f"Use at most {LORAS_MAX}.", "loras")
    over = [name for name, weight in weights.items() if abs(weight) > LORA_WEIGHT_MAX]
    if over:
        raise InvalidRequest(
            f"The LoRA {over[0]} is asked for twice and comes to more than {LORA_WEIGHT_MAX:g}.", "Lower one of its weights.", "loras"
        )
    return tuple(LoraUse(name=name, weight=weight, blocks=blocks[name]) for name, weight in weights.items() if weight)
