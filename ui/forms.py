"""Component values to a request and back. Pure functions: no component, no engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine import Recipe

# The names by which a tab hands its values over, in the order of its components.
FIELDS = (
    "prompt", "negative_prompt", "size", "count", "guidance_scale", "steps",
    "scheduler", "seed", "is_seed_kept", "width", "height",
)  # fmt: skip


def size_label(width: int, height: int) -> str:
    return f"{width} × {height}"


def parse_size(label: object) -> tuple[str, str] | None:
    """("256", "384") from "256 × 384"; None when nothing is chosen. The contract judges the numbers."""
    parts = str(label or "").split("×")
    return (parts[0].strip(), parts[1].strip()) if len(parts) == 2 else None


def to_request_values(form: Mapping[str, Any]) -> dict[str, Any]:
    """What `parse_request` takes. Empty controls are left out: "not chosen" is never zero."""
    values = {name: form.get(name) for name in ("prompt", "negative_prompt", "steps", "guidance_scale", "scheduler", "count")}
    if (size := parse_size(form.get("size"))) is not None:
        values["width"], values["height"] = size
    values.update({name: form[name] for name in ("width", "height") if form.get(name)})
    if form.get("is_seed_kept"):
        values["seed"] = form.get("seed")
    # The three fields of free text are empty when nothing is chosen; the prompts may be empty and are judged as such.
    return {name: value for name, value in values.items() if value is not None and (value != "" or name.endswith("prompt"))}


def from_recipe(recipe: Recipe, sizes: list[str]) -> dict[str, Any]:
    """The form that makes this picture again: its seed is kept, its size is a preset where there is one."""
    label = size_label(recipe.width, recipe.height)
    is_preset = label in sizes
    return {
        "prompt": recipe.prompt,
        "negative_prompt": recipe.negative_prompt,
        "size": label if is_preset else None,
        "count": recipe.count,
        "guidance_scale": recipe.guidance_scale,
        "steps": recipe.steps,
        "scheduler": recipe.scheduler,
        "seed": str(recipe.seed),
        "is_seed_kept": True,
        "width": "" if is_preset else str(recipe.width),
        "height": "" if is_preset else str(recipe.height),
    }


def guidance_word(scale: float) -> str:
    if scale <= 2.5:
        return "loose"
    return "balanced" if scale <= 7 else "literal"
