"""Reference pictures: what the drawing should resemble, each with a weight and a window over the steps."""

from __future__ import annotations

from typing import Any

import gradio as gr

from engine import REFERENCES_MAX, UPLOAD_BYTES_MAX, ReferenceAdapterCard
from ui.canvas.scripts import card_script

_TEMPLATE = """
<section class="units" id="ctl-references" aria-label="Reference pictures">
  <button type="button" class="units-title" aria-expanded="false" aria-controls="references-body">Reference pictures</button>
  <div class="units-body" id="references-body" hidden><p class="units-none"></p><ul class="units-list"></ul>
    <button type="button" class="units-add">Add a reference</button></div>
</section>
"""


def adapter_views(cards: list[ReferenceAdapterCard]) -> list[dict[str, Any]]:
    """What a card shows: never a path, never a hash."""
    return [{"name": card.name, "title": card.title, "refusal": card.refusal} for card in cards]


def build_references(cards: list[ReferenceAdapterCard]) -> gr.HTML:
    """A gr.HTML whose value is a list of references as `references.js` keeps them; `ui.guides` reads it."""
    script = card_script("references")
    return gr.HTML(
        [],
        html_template=_TEMPLATE,
        js_on_load=script,
        elem_id="references",
        elem_classes="not-upscale",
        apply_default_css=False,
        adapters=adapter_views(cards),
        most=REFERENCES_MAX,
        bytes_max=UPLOAD_BYTES_MAX,
    )
