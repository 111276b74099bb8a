"""The strength slider: how far from the source, said in words and drawn over the noise schedule."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from engine import ModelCard

_SCRIPT = Path(__file__).parents[1] / "canvas" / "schedule.js"
_TEMPLATE = """
<div class="schedule">
  <p class="schedule-words"></p>
  <svg viewBox="0 0 320 56" preserveAspectRatio="none" role="img" aria-label="Noise over the steps, and where this run starts">
    <path class="schedule-area"/><path class="schedule-line"/><line class="schedule-start" y1="0" y2="56"/><line class="schedule-now" y1="0" y2="56" hidden/>
  </svg>
  <p class="schedule-ends"><span>noise</span><span class="schedule-share"></span><span>picture</span></p>
</div>
"""
# Up to which strength, what survives of the source.
WORDS = {
    "img2img": (
        (0.35, "Low: shapes and colours stay, only the finish changes"),
        (0.7, "Middle: the composition stays, details are drawn anew"),
        (1.0, "High: only a hint of the colours is left"),
    ),
    "inpaint": (
        (0.4, "Low: what lies under the mask stays, only its finish changes"),
        (0.85, "Middle: the shape under the mask guides the new one"),
        (1.0, "High: the masked part is invented from the words"),
    ),
    "upscale": (
        (0.0, "Nothing is drawn over: enlarged only"),
        (0.25, "Low: detail is sharpened, nothing new appears"),
        (0.5, "Middle: new detail is invented where there was none"),
        (1.0, "High: every tile becomes a picture of its own"),
    ),
}


def build_strength(card: ModelCard, mode: str, elem_id: str, value: float, *, least: float = 0.05) -> gr.Slider:
    slider = gr.Slider(least, 1, value=value, step=0.05, label="Strength", elem_id=elem_id)
    plot = gr.HTML(
        value,
        html_template=_TEMPLATE,
        js_on_load=_SCRIPT.read_text(encoding="utf-8"),
        apply_default_css=False,
        curve=list(card.noise_curve),
        words=[list(pair) for pair in WORDS[mode]],
        mode=mode,
    )
    slider.change(None, slider, plot, js="(value) => value", show_progress="hidden", api_visibility="private")
    return slider
