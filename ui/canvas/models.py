"""The Models tab: what is on this machine, what fits, what could be here, and what is on its way. Its value is the model that this visitor draws with."""

from __future__ import annotations

import gradio as gr

from ui.canvas.scripts import card_script

_TEMPLATE = """
<section class="models" id="models-place" aria-label="Models">
  <header class="models-head"><h2>Models</h2><p class="models-room"></p></header>
  <div class="models-memory">
    <div class="models-memory-row"><label for="models-memory-plan">Memory plan</label><select id="models-memory-plan"></select></div>
    <p class="models-facts models-memory-what"></p>
    <details class="card-more"><summary>What each plan does</summary><ul class="models-plans"></ul></details>
  </div>
  <p class="models-said" role="status"></p>
  <div class="models-suggest" hidden></div>
  <h3 class="models-on-their-way" hidden>On their way here</h3>
  <ul class="models-list models-coming" aria-label="On their way here"></ul>
  <ul class="models-list models-here" aria-label="On this machine"></ul>
  <p class="models-none" hidden>No other model is here yet. A .safetensors file, or a folder with a model_index.json, that is put into data/models is found the next time this tab opens.</p>
  <form class="models-hub" hidden>
    <h3>From the hub</h3>
    <p class="models-hint">Any model of huggingface.co in diffusers' layout. You see its size and licence first.</p>
    <div class="models-hub-row"><input type="text" aria-label="Model on the hub" placeholder="owner/name" maxlength="600" autocomplete="off" spellcheck="false">
    <button type="submit">Look up</button></div>
    <p class="models-hub-said" role="status"></p>
    <div class="models-looked"></div>
  </form>
  <h3 class="models-could">Could be here</h3>
  <p class="models-hint">Openly licensed models, with their size in full precision; where the hub has half of it too, that is fetched. Nothing comes before you have seen what it is and said so.</p>
  <ul class="models-list models-offers" aria-label="Could be here"></ul>
</section>
"""


def build_models(name: str) -> gr.HTML:
    """A gr.HTML whose value is a model's name. Event: `select` = begin to draw with `{name}`."""
    return gr.HTML(name, html_template=_TEMPLATE, js_on_load=card_script("models"), elem_id="models", apply_default_css=False)
