"""The Image tab's own controls: repaint the source by a strength, or edit it by a sentence."""

from __future__ import annotations

import gradio as gr

from engine import ModelCard
from ui.canvas.pictures import build_pictures
from ui.controls.model import edit_state
from ui.controls.strength import build_strength

Fields = dict[str, gr.components.Component]
# The class on the body decides what is shown, so that a choice is answered without the server.
_SHOW = "(how) => { document.body.dataset.how = how; window.dispatchEvent(new CustomEvent('easel:how')); }"
_NOTE = (
    "<p>An edit has no strength: the sentence says what changes, and the rest stays. It is drawn in the shape of the source; "
    "Own width and Own height, under Expert, ask for another.</p>"
)


def build_how(card: ModelCard) -> Fields:
    """Under the source: what is to become of it, and what an edit looks at beside it."""
    fields: Fields = {}
    with gr.Column(elem_classes="group for-img2img"):
        ways = [("Repaint", "repaint"), ("Edit", "edit")]
        fields["how"] = how = gr.Radio(ways, value="repaint", label="How", **edit_state(card), elem_id="ctl-how", elem_classes="chips")
        with gr.Column(elem_classes="group for-edit"):
            fields["pictures"] = build_pictures(card)
            gr.HTML(_NOTE, elem_classes="note")
    how.change(None, how, None, js=_SHOW, show_progress="hidden", api_visibility="private")
    return fields


def build_image(card: ModelCard) -> Fields:
    """How much of the source stays where it is repainted, and how it is brought to size."""
    with gr.Column(elem_classes="group for-img2img not-edit"):
        strength = build_strength(card, "img2img", "ctl-strength", 0.6)
        choices = [("Crop", "crop"), ("Pad", "pad"), ("Stretch", "stretch")]
        fit = gr.Radio(choices, value="crop", label="Fit to the size", elem_id="ctl-fit", elem_classes="chips")
    return {"strength": strength, "fit": fit}
