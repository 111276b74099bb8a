"""What a picture file says about how it was made, and what of that is not on this machine."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from engine.contract.recipe import Recipe

MissingKind = Literal["model", "lora", "embedding", "upscaler", "vae", "control", "adapter", "source", "mask", "picture"]


class Missing(BaseModel):
    """One thing that the picture was made with. `absent`: not here; `changed`: here under that name, with other content."""

    model_config = ConfigDict(frozen=True)

    kind: MissingKind
    name: str
    state: Literal["absent", "changed"]
    message: str
    field: str


class ReadSettings(BaseModel):
    """`values` are what `parse_request` takes, without what is absent. `recipe` is there where Easel made the picture.

    `unread` holds, as they are written, the settings that mean nothing here. `remark`: what to know before it is drawn again here.
    """

    model_config = ConfigDict(frozen=True)

    source: Literal["easel", "a1111"]
    values: dict[str, Any]
    missing: tuple[Missing, ...] = ()
    unread: dict[str, str] = {}
    recipe: Recipe | None = None
    remark: str = ""
