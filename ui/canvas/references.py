"""Reference pictures: what the drawing should resemble, each with a weight and a window over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from engine import REFERENCES_MAX, UPLOAD_BYTES_MAX, Engine, ModelCard
from ui.canvas.scripts import card_script
from ui.controls.model import usable_models

_TEMPLATE = """
<section class="units" id="ctl-references" aria-label="Reference pictures">
  <button type="button" class="units-title" aria-expanded="false" aria-controls="references-body">Reference pictures</button>
  <div class="units-body" id="references-body" hidden><p class="units-none"></p><ul class="units-list"></ul>
    <button type="button" class="units-add">Add a reference</button></div>
</section>
"""


def adapter_views(engine: Engine, models: Sequence[ModelCard]) -> list[dict[str, Any]]:
    """What a card shows, and why not beside which of the models: never a path, never a hash."""
    judged = {model.name: {card.name: card for card in engine.reference_adapters(model.name)} for model in models}
    every = {name: card.title for cards in judged.values() for name, card in cards.items()}
    return [
        {"name": name, "title": title, "refusals": {model: cards[name].refusal if name in cards else None for model, cards in judged.items()}}
        for name, title in every.items()
    ]


def build_references(engine: Engine) -> gr.HTML:
    """A gr.HTML whose value is a list of references as `references.js` keeps them; `ui.guides` reads it."""
    script = card_script("references")
    return gr.HTML(
        [],
        html_template=_TEMPLATE,
        js_on_load=script,
        elem_id="references",
        elem_classes="not-upscale",
        apply_default_css=False,
        adapters=adapter_views(engine, usable_models(engine)),
        most=REFERENCES_MAX,
        bytes_max=UPLOAD_BYTES_MAX,
    )
