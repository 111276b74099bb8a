"""Settings that a brought picture carries: shown to the page with the picture, and taken over into the form when asked for."""

from __future__ import annotations

from typing import Any

import gradio as gr
from pydantic import ValidationError

from engine import DamagedFile, Engine, EngineError, LoraUse, NotFound, Recipe
from ui.controls.model import model_or_default, offered, size_labels
from ui.filling import BEGINS, ends
from ui.forms import FIELDS, size_label, tab_of
from ui.guides import picture_views, reference_views, unit_views
from ui.links import source_url, source_view
from ui.owner import owner_of
from ui.run import HIDDEN, Page, Update
from ui.sending import event_data, fields_of, fields_update, rack_views

_SAME = ("prompt", "negative_prompt", "guidance_scale", "steps", "scheduler", "variation_strength")
_TEXTS = ("schedule", "seamless", "variation_seed")
# What a picture does not say of these was the model's own.
_OWN = ("clip_skip", "vae")


def carried_view(engine: Engine, data: bytes, owner: str) -> dict[str, Any] | None:
    """What the page is told about the settings in a file; None where it has none, or none that can be read."""
    try:
        found = engine.read_settings(data, owner)
    except DamagedFile:
        return None
    return {
        "recipe": None if found.recipe is None else found.recipe.to_plain(),
        "values": found.values,
        "remark": found.remark,
        "missing": [one.message for one in found.missing],
        "unread": [f"{name}: {value}"[:120] for name, value in list(found.unread.items())[:20]],
    }


def wire_carried(page: Page, offer: gr.HTML) -> None:
    engine, form = page.engine, page.form
    targets = [page.mode, form.source, page.editor, *form.racks, *form.inputs()]

    def take(event: gr.EventData, request: gr.Request) -> Update:
        """The page sends back what it was given; it is checked again, and nothing in it is run here."""
        data, owner = event_data(event), owner_of(request)
        try:
            if data.get("recipe"):
                recipe = Recipe.model_validate(data["recipe"])
                guides = unit_views(engine, recipe, owner), reference_views(engine, recipe, owner)
                here = {card.name for card in engine.loras()}
                rack = rack_views([use for use in recipe.loras or () if use.name in here])
                fields = {**fields_of(engine, recipe), "pictures": picture_views(engine, recipe, owner)}
                return (*_pictures(engine, recipe, owner), rack, *guides, *fields_update(fields))
            values = data.get("values")
            values = values if isinstance(values, dict) else {}
            card = model_or_default(engine, values.get("model"))
            fields = _fields(values, size_labels(card))
            if values.get("model") == card.name:
                fields = offered(card, {"size": size_label(*card.default_size), **fields, "model": card.name})
            rack = rack_views([LoraUse.model_validate(one) for one in (values or {}).get("loras", [])])
            mode = (values or {}).get("mode", "txt2img")
            return mode, gr.skip(), gr.skip(), rack, gr.skip(), gr.skip(), *fields_update(fields)
        except (ValidationError, EngineError, AttributeError, TypeError):
            gr.Warning("These settings cannot be read. Drop the picture again.")
            return tuple(gr.skip() for _ in targets)

    ends(offer.select(take, None, targets, queue=False, js=BEGINS, **HIDDEN))


def _fields(values: dict[str, Any], sizes: list[str]) -> dict[str, Any]:
    """Another program's values as the form's; what it does not say stays as it is."""
    fields = {name: values[name] for name in _SAME if name in values}
    fields |= {name: str(values[name]) for name in _TEXTS if name in values}
    fields |= {name: str(values.get(name, "")) for name in _OWN}
    if "scheduler" in values:
        fields["schedule"] = values.get("schedule", "")
    if "seed" in values:
        fields |= {"seed": str(values["seed"]), "is_seed_kept": True}
    if "width" in values:
        label = size_label(values["width"], values["height"])
        is_preset = label in sizes
        fields |= {
            "size": label if is_preset else None,
            "width": "" if is_preset else str(values["width"]),
            "height": "" if is_preset else str(values["height"]),
        }
    if values.get("mode") == "img2img":
        fields["strength"] = values["strength"]
    return {name: value for name, value in fields.items() if name in FIELDS}


def _pictures(engine: Engine, recipe: Recipe, owner: str) -> Update:
    """Tab, source and mask as far as they are here."""
    try:
        if recipe.source is None:
            return tab_of(recipe), gr.skip(), gr.skip()
        source = source_view(engine.input_image(recipe.source, owner), engine.secret)
    except NotFound:
        return tab_of(recipe), None, gr.skip()
    if recipe.mode != "inpaint":
        return tab_of(recipe), source, gr.skip()
    base = recipe.mask
    try:
        if base is not None:
            engine.input_image(base, owner)
    except NotFound:
        base = None
    url = None if base is None else source_url(base, engine.secret)
    return recipe.mode, source, {"source": recipe.source, "base": base, "base_url": url, "strokes": [], "expand": list(recipe.expand)}
