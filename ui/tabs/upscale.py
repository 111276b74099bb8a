"""The Upscale tab's own controls: how much larger, by what, and how much is drawn over."""

from __future__ import annotations

import gradio as gr

from engine import ModelCard, UpscalerCard
from ui.controls.strength import build_strength

Fields = dict[str, gr.components.Component]


def build_upscale(card: ModelCard, upscalers: list[UpscalerCard]) -> Fields:
    fields: Fields = {}
    with gr.Column(elem_classes="group for-upscale"):
        fields["factor"] = gr.Radio([("× 2", "2"), ("× 4", "4")], value="2", label="Enlarge", elem_id="ctl-factor", elem_classes="chips")
        choices = [(one.title, one.name) for one in upscalers]
        fields["upscaler"] = gr.Dropdown(choices, value=upscalers[0].name, label="Upscaler", elem_id="ctl-upscaler")  # type: ignore[arg-type]
        fields["upscale_strength"] = build_strength(card, "upscale", "ctl-strength-upscale", 0.15, least=0)
        with gr.Accordion("Tiles", open=False, elem_classes="fold", elem_id="tiles-fold"):
            info = "Pixels that neighbouring tiles share; the size below is that of one tile"
            fields["overlap"] = gr.Slider(16, 128, value=64, step=8, label="Overlap", info=info, elem_id="ctl-overlap")
    return fields
