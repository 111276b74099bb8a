"""The LoRA rack: a card for every adapter that is here, with its weight, and off until it is wanted."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import gradio as gr

from engine import LORA_WEIGHT_MAX, LoraCard, ModelCard
from ui.canvas.scripts import card_script

_TEMPLATE = """
<section class="rack" id="ctl-loras" aria-label="LoRA rack">
  <p class="rack-none">No adapters yet. Drop .safetensors files into data/loras; they are found at the next load.</p>
  <ul class="rack-list"></ul>
  <p class="rack-much" role="status" hidden><span></span><button type="button"></button></p>
  <div class="rack-bring" hidden><button type="button">Add a LoRA file</button><input type="file" accept=".safetensors" aria-label="LoRA file" hidden></div>
  <form class="rack-hub" hidden><label for="rack-hub-name">From the hub</label>
    <div class="rack-hub-row"><input id="rack-hub-name" type="text" placeholder="owner/name or owner/name/file" maxlength="600" autocomplete="off" spellcheck="false">
    <button type="submit">Look up</button></div></form>
  <ul class="rack-offers" aria-label="On the hub"></ul>
  <p class="rack-said" role="status"></p>
</section>
"""


def card_views(cards: list[LoraCard], models: list[ModelCard]) -> list[dict[str, Any]]:
    """What a card shows, and why not beside which model: never a path, never a hash."""
    return [
        {
            "name": card.name, "title": card.title, "trigger": card.trigger, "licence": card.licence, "made_for": card.made_for,
            "refusals": {model.name: card.misfit(model) for model in models}, "size": f"{card.bytes_on_disk / 1e6:.1f} MB",
            "source": card.source.partition("@")[0], "is_few_steps": card.is_few_steps,
            "picture": f"/loras/{quote(card.name)}.jpg?{card.picture}" if card.picture else None,
        }
        for card in cards
    ]  # fmt: skip


def build_rack(cards: list[LoraCard], models: list[ModelCard], *, may_add: bool, may_fetch: bool) -> gr.HTML:
    """A gr.HTML whose value is a list of {name, weight, is_muted}. Event: `select` = put a trigger word into the prompt."""
    # An update of one property loses the others: what never changes is part of the script.
    script = (
        card_script("rack")
        .replace("__MOST__", f"{LORA_WEIGHT_MAX:g}")
        .replace("__MAY_ADD__", str(may_add).lower())
        .replace("__MAY_FETCH__", str(may_fetch).lower())
    )
    return gr.HTML([], html_template=_TEMPLATE, js_on_load=script, elem_id="rack", apply_default_css=False, cards=card_views(cards, models))
