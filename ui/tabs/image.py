"""The Image tab's own controls: how much of the source stays, and how it is brought to size."""

from __future__ import annotations

import gradio as gr

from engine import ModelCard
from ui.controls.strength import build_strength

Fields = dict[str, gr.components.Component]


def build_image(card: ModelCard) -> Fields:
    with gr.Column(elem_classes="group for-img2img"):
        strength = build_strength(card, "img2img", "ctl-strength", 0.6)
        choices = [("Crop", "crop"), ("Pad", "pad"), ("Stretch", "stretch")]
        fit = gr.Radio(choices, value="crop", label="Fit to the size", elem_id="ctl-fit", elem_classes="chips")
    return {"strength": strength, "fit": fit}
