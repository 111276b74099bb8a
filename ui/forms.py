"""Component values to a request and back. Pure functions: no component, no engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine import GUIDANCE_FACTS, Recipe

# What every tab has, then what one tab has. The names of the components, in the order in which values travel.
SHARED = (
    "prompt", "negative_prompt", "size", "count", "guidance_scale", "steps", "scheduler", "schedule", "seed", "is_seed_kept", "width", "height",
    "variation_strength", "variation_seed", "seamless", "clip_skip", "vae", "guidance_style", "perturbed_scale", "guidance_rescale", "guidance_start", "guidance_end",
    "score_guidance", "score_scale", "score_target",
)  # fmt: skip
# What each tab asks the engine for, where that has another name: ControlNet is words with a picture that leads.
_REQUESTS = {"controlnet": "txt2img"}
OF_MODE: dict[str, dict[str, str]] = {
    "txt2img": {},
    "img2img": {"strength": "strength", "fit": "fit"},
    "edit": {"pictures": "pictures"},
    "inpaint": {
        "inpaint_strength": "strength", "region": "region", "padding": "padding", "feather": "feather", "is_soft": "is_soft", "fill": "fill",
    },
    "upscale": {"upscale_strength": "strength", "factor": "factor", "upscaler": "upscaler", "overlap": "overlap"},
}  # fmt: skip
SHEET = ("sheet", "vary_x", "vary_x_values", "vary_y", "vary_y_values")
FIELDS = ("model", "how", *SHARED, *(name for names in OF_MODE.values() for name in names), *SHEET)

_PLAIN = (
    "model", "prompt", "negative_prompt", "steps", "guidance_scale", "scheduler", "schedule", "count", "guidance_style", "guidance_rescale", "guidance_start",
    "guidance_end", "score_guidance", "clip_skip", "vae",
)  # fmt: skip
# Scales and words of what is switched on by another control.
_SCORE = ("score_scale", "score_target")
# Where one noise canvas is all there is; an enlargement has none of these.
_NOISE = ("variation_strength", "variation_seed")
_PERTURBED = [name for name, facts in GUIDANCE_FACTS.items() if facts.needs_attention]
EXPAND = ("expand_left", "expand_top", "expand_right", "expand_bottom")


def size_label(width: int, height: int) -> str:
    return f"{width} × {height}"


def parse_size(label: object) -> tuple[str, str] | None:
    """("256", "384") from "256 × 384"; None when nothing is chosen. The contract judges the numbers."""
    parts = str(label or "").split("×")
    return (parts[0].strip(), parts[1].strip()) if len(parts) == 2 else None


def size_values(form: Mapping[str, Any], mode: str) -> dict[str, Any]:
    """Width and height that a form asks for, each of one's own above that of a preset. An edit has the shape of its source, unless it is asked for another."""
    size = None if mode == "edit" else parse_size(form.get("size"))
    return dict(zip(("width", "height"), size or (), strict=False)) | {name: form[name] for name in ("width", "height") if form.get(name)}


def nearest_size(width: int, height: int, sizes: list[str]) -> str:
    """The label of the size whose shape is nearest to a picture's."""
    wanted = width / height

    def distance(label: str) -> float:
        w, h = parse_size(label) or ("1", "1")
        ratio = (int(w) / int(h)) / wanted
        return max(ratio, 1 / ratio)

    return min(sizes, key=distance)


def request_mode(tab: str, form: Mapping[str, Any]) -> str:
    """What a tab with this form asks for: the Image tab repaints, or edits."""
    return "edit" if tab == "img2img" and form.get("how") == "edit" else _REQUESTS.get(tab, tab)


def tab_of(recipe: Recipe) -> str:
    """The tab that a picture came from."""
    if recipe.mode == "edit":
        return "img2img"
    return "controlnet" if recipe.mode == "txt2img" and recipe.controls else recipe.mode


def to_request_values(form: Mapping[str, Any], mode: str = "txt2img") -> dict[str, Any]:
    """What `parse_request` takes for a request of this mode, without the pictures. Empty controls are left out: "not chosen" is never zero."""
    values = {name: form.get(name) for name in _PLAIN}
    values.update(size_values(form, mode))
    if form.get("is_seed_kept"):
        values["seed"] = form.get("seed")
    values.update({field: form.get(name) for name, field in OF_MODE.get(mode, {}).items()})
    if mode == "edit":
        shown = values.get("pictures")
        values["pictures"] = [one.get("hash") if isinstance(one, Mapping) else one for one in shown] if isinstance(shown, list) else shown
    if mode == "upscale":
        values.pop("count")
    elif form.get("variation_strength"):
        values.update({name: form.get(name) for name in _NOISE})
    if mode in ("txt2img", "img2img"):
        values["seamless"] = form.get("seamless")
    if form.get("guidance_style") in _PERTURBED:
        values["perturbed_scale"] = form.get("perturbed_scale")
    if form.get("score_guidance"):
        values.update({name: form.get(name) for name in _SCORE})
    # The fields of free text are empty when nothing is chosen; the prompts may be empty and are judged as such.
    kept = {name: value for name, value in values.items() if value is not None and (value != "" or name.endswith("prompt"))}
    return kept if mode == "txt2img" else {"mode": mode, **kept}


def from_recipe(recipe: Recipe, sizes: list[str]) -> dict[str, Any]:
    """The form that makes this picture again: its seed is kept, its size is a preset where there is one.

    Controls of other modes are left out: they stay as they are.
    """
    label = size_label(recipe.width, recipe.height)
    is_preset = label in sizes and recipe.mode != "edit"
    own = {name: getattr(recipe, field) for name, field in OF_MODE[recipe.mode].items()}
    if tab_of(recipe) == "img2img":
        own["how"] = "edit" if recipe.mode == "edit" else "repaint"
    # The page shows pictures by their addresses, which only the server can give.
    own.pop("pictures", None)
    if "factor" in own:
        own["factor"] = str(own["factor"])
    return {
        "model": recipe.model,
        "prompt": recipe.prompt,
        "negative_prompt": recipe.negative_prompt,
        "size": label if is_preset else None,
        "count": recipe.count,
        "guidance_scale": recipe.guidance_scale,
        "steps": recipe.steps,
        "scheduler": recipe.scheduler,
        "schedule": recipe.schedule or "",
        "seed": str(recipe.seed),
        "is_seed_kept": True,
        "width": "" if is_preset else str(recipe.width),
        "height": "" if is_preset else str(recipe.height),
        "variation_strength": recipe.variation_strength or 0,
        "variation_seed": "" if recipe.variation_seed is None else str(recipe.variation_seed),
        "seamless": recipe.seamless or "",
        "clip_skip": "" if recipe.clip_skip is None else str(recipe.clip_skip),
        "vae": recipe.vae or "",
        "guidance_style": recipe.guidance_style or "cfg",
        "guidance_rescale": recipe.guidance_rescale or 0,
        "guidance_start": recipe.guidance_start or 0,
        "guidance_end": 1 if recipe.guidance_end is None else recipe.guidance_end,
        **({} if recipe.perturbed_scale is None else {"perturbed_scale": recipe.perturbed_scale}),
        "score_guidance": recipe.score_guidance or "",
        **({} if recipe.score_scale is None else {"score_scale": recipe.score_scale}),
        "score_target": recipe.score_target or "",
        **own,
        "sheet": "",
    }


def guidance_word(scale: float) -> str:
    if scale <= 2.5:
        return "loose"
    return "balanced" if scale <= 7 else "literal"
