"""A style: words put around the designer's own, and words against what usually goes wrong with it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PLACE = "{prompt}"


class Style(BaseModel):
    """`{prompt}` in `prompt` is where the designer's words go. `note` says in a line what it does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=60)]
    group: Annotated[str, Field(min_length=1, max_length=60)]
    prompt: Annotated[str, Field(max_length=1_000)] = PLACE
    negative_prompt: Annotated[str, Field(max_length=1_000)] = ""
    note: Annotated[str, Field(max_length=200)]


def apply_style(prompt: str, negative_prompt: str, style: Style) -> tuple[str, str]:
    """The prompt and the negative prompt with the style. Without words of one's own, the style stands alone."""
    words = prompt.strip()
    before, place, after = style.prompt.partition(PLACE)
    if not place:
        after = f", {before}" if before else ""
        before = ""
    styled = f"{before}{words}{after}" if words else f"{before.rstrip(' ,')}, {after.lstrip(' ,')}".strip(" ,")
    return styled, ", ".join(part for part in (negative_prompt.strip(), style.negative_prompt) if part)
