"""What the form offers and begins with for a model: sizes, steps, guidance, sampler, styles of guidance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from engine import CLIP_SKIP_MAX, FAMILIES, GUIDANCE_LABELS, Engine, ModelCard, ModelNotFound, cannot_edit, pictures_taken, styles_of
from ui.forms import size_label


def size_labels(card: ModelCard) -> list[str]:
    return [size_label(*size) for size in card.sizes]


def usual(card: ModelCard) -> dict[str, Any]:
    """Values by control, as the model is usually run."""
    return {
        "model": card.name, "size": size_label(*card.default_size), "width": "", "height": "", "steps": card.default_steps,
        "guidance_scale": card.default_guidance, "scheduler": card.default_scheduler, "schedule": "", "guidance_style": "cfg", "clip_skip": "",
        "vae": "",
    }  # fmt: skip


def offered(card: ModelCard, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with the choices that this model has where a control has choices: a value and its menu change together."""
    styles = [(GUIDANCE_LABELS[name], name) for name in styles_of(card.family)]
    choices: dict[str, Any] = {"size": size_labels(card), "guidance_style": styles}
    updates = {name: gr.update(choices=menu, **({"value": values[name]} if name in values else {})) for name, menu in choices.items()}
    updates |= {name: gr.update(value=values.get(name, ""), **state(card)) for name, state in (("clip_skip", clip_state), ("vae", vae_state))}
    updates["score_guidance"] = gr.update(value=values.get("score_guidance", "") if card.has_scorer else "", **score_state(card))
    how = values.get("how") if pictures_taken(card) else "repaint"
    updates["how"] = gr.update(**({} if how is None else {"value": how}), **edit_state(card))
    return {**values, **updates}


def score_state(card: ModelCard) -> dict[str, Any]:
    """Whether guidance by a second model can be chosen, and why not."""
    reason = f"{card.title} brings no second model that could judge a picture: put one into its folder as clip."
    return {"interactive": card.has_scorer, "info": None if card.has_scorer else reason}


def clip_state(card: ModelCard) -> dict[str, Any]:
    """The layers that a model's text encoder may speak from, and why there are none."""
    reason = FAMILIES[card.family].lacks.get("clip_skip")
    layers = range(1, 1 + min(card.clip_layers or CLIP_SKIP_MAX, CLIP_SKIP_MAX))
    names = {1: "1: the last layer", 2: "2: the last but one"}
    return {
        "choices": [("The model's own", ""), *((names.get(layer, str(layer)), str(layer)) for layer in layers)],
        "interactive": reason is None, "info": f"{card.title} {reason}." if reason else "Which layer of the text encoder speaks, from its end",
    }  # fmt: skip


def vae_state(card: ModelCard) -> dict[str, Any]:
    """Whether another VAE can be put in, and why not."""
    reason = FAMILIES[card.family].lacks.get("vae")
    info = "It has none of its own: choose one" if card.wants_vae else "Files and folders in data/vaes"
    return {"interactive": reason is None, "info": f"{card.title} {reason}." if reason else info}


def vae_choices(engine: Engine) -> list[tuple[str, str]]:
    return [("The model's own", ""), *((card.title, card.name) for card in engine.vaes() if card.refusal is None)]


def edit_state(card: ModelCard) -> dict[str, Any]:
    """Whether the model changes pictures by a sentence, and why not."""
    can_edit = pictures_taken(card) > 0
    return {"interactive": can_edit, "info": "By a strength, or by a sentence that says what changes" if can_edit else cannot_edit(card.title)}


def usable_models(engine: Engine) -> list[ModelCard]:
    """The models that can draw, the default first."""
    default = engine.model()
    return [default, *(card for card in engine.models() if card.refusal is None and card.name != default.name)]


def model_or_default(engine: Engine, name: Any) -> ModelCard:
    """The named model, or the default where it is gone or cannot be used."""
    try:
        return engine.model(name if isinstance(name, str) else None)
    except ModelNotFound:
        return engine.model()
