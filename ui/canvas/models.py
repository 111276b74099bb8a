"""The Models tab: what is on this machine, what fits, and what could be here. Its value is the model that this visitor draws with."""

from __future__ import annotations

import gradio as gr

from ui.canvas.scripts import card_script

_TEMPLATE = """
<section class="models" id="models-place" aria-label="Models">
  <header class="models-head"><h2>Models</h2><p class="models-room"></p></header>
  <p class="models-said" role="status"></p>
  <ul class="models-list models-here" aria-label="On this machine"></ul>
  <p class="models-none" hidden>No other model is here. Put a .safetensors file, or a folder with a model_index.json, into data/models; it is found the next time this tab opens.</p>
  <h3 class="models-could">Could be here</h3>
  <p class="models-hint">Openly licensed models. Nothing is downloaded from this page: run the line in a terminal beside the studio's data folder, then open this tab again.</p>
  <ul class="models-list models-offers" aria-label="Could be here"></ul>
</section>
"""


def build_models(name: str) -> gr.HTML:
    """A gr.HTML whose value is a model's name. Event: `select` = begin to draw with `{name}`."""
    return gr.HTML(name, html_template=_TEMPLATE, js_on_load=card_script("models"), elem_id="models", apply_default_css=False)
