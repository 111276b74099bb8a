"""The Inpaint tab's own controls. The mask and the growth of the frame are in the editor on the stage."""

from __future__ import annotations

import gradio as gr

from engine import PADDING_MAX, ModelCard
from ui.controls.strength import build_strength

Fields = dict[str, gr.components.Component]


def build_inpaint(card: ModelCard) -> Fields:
    fields: Fields = {}
    with gr.Column(elem_classes="group for-inpaint"):
        fields["inpaint_strength"] = build_strength(card, "inpaint", "ctl-strength-inpaint", 0.9)
        fills = [("Original", "original"), ("Blur", "blur"), ("Colours around", "neighbours"), ("Noise", "noise")]
        fields["fill"] = gr.Radio(fills, value="original", label="Begin from", elem_id="ctl-fill", elem_classes="chips")
        regions = [("Masked part, full detail", "masked"), ("Whole picture", "whole")]
        fields["region"] = gr.Radio(regions, value="masked", label="Work on", elem_id="ctl-region", elem_classes="chips")
        with gr.Accordion("Edge of the mask", open=False, elem_classes="fold", elem_id="edge-fold"):
            fields["feather"] = gr.Slider(0, 64, value=8, step=1, label="Feather", info="How wide the edge blends, in pixels", elem_id="ctl-feather")
            fields["padding"] = gr.Slider(
                0, min(256, PADDING_MAX), value=32, step=8, label="Context", info="Pixels around the mask that the model sees", elem_id="ctl-padding"
            )
            fields["is_soft"] = gr.Checkbox(label="Soft mask: a fading edge changes less", value=False, elem_id="ctl-is_soft")
    return fields
