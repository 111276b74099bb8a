"""Draft, standard or fine: one choice that sets steps, guidance, sampler and LoRA together, and says which they are.

All in the browser: what a choice means for each model is known there, so that no slow answer comes between two quick choices.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from engine import Engine, Quality
from ui.controls.model import usable_models

_INFO = "Sets steps, guidance and sampler together"
_HIDDEN: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def build_quality(choices: tuple[Quality, ...]) -> gr.Radio:
    # Said outright: the framework would take what is nobody's input for a display.
    return gr.Radio(
        [(one.label, one.name) for one in choices], value="standard", label="Quality", info=_INFO, interactive=True,
        elem_id="ctl-quality", elem_classes="chips",
    )  # fmt: skip


def quality_views(choices: Sequence[Quality]) -> list[dict[str, Any]]:
    """What the page knows of a model's choices."""
    return [
        {
            "name": one.name, "about": f"{one.label}: {one.note}", "lora": one.lora,
            "steps": one.steps, "guidance": one.guidance_scale, "scheduler": one.scheduler,
        }
        for one in choices
    ]  # fmt: skip


def wire_quality(quality: gr.Radio, engine: Engine, fields: Mapping[str, Any], rack: gr.HTML) -> None:
    """A choice sets the controls; controls that are moved say which choice they are, or none."""
    # What the page begins with; the Models tab keeps `window.easelQualities` as things stand now.
    begun = {card.name: quality_views(engine.qualities(card.name)) for card in usable_models(engine)}
    offered = _OFFERED.replace("__BEGUN__", json.dumps(begun)).replace("__INFO__", json.dumps(_INFO))
    parts = [fields[name] for name in ("steps", "guidance_scale", "scheduler")]
    settings = [*parts, fields["schedule"], rack]
    # None is left out: each takes what was clicked last.
    choose = _CHOOSE.replace("__OFFERED__", offered)
    hand = gr.HTML("", html_template="<i></i>", js_on_load=_HAND, elem_id="quality-hand", apply_default_css=False)
    hand.select(None, [fields["model"], *settings], [quality, *settings], js=choose, trigger_mode="multiple", **_HIDDEN)
    told = [fields["model"], *parts, rack]
    recognise = _RECOGNISE.replace("__OFFERED__", offered)
    gr.on([one.change for one in told], None, told, quality, js=recognise, trigger_mode="multiple", **_HIDDEN)


# The click itself is heard: what the framework passes on of a choice can be overtaken by the answer to the one before it.
_HAND = """document.addEventListener("click", ({ target }) => {
  if (!target.matches?.("#ctl-quality input")) return;
  window.easelQuality = target.value;
  trigger("select");
}, true);"""
_OFFERED = """const begun = __BEGUN__, info = __INFO__;
  const choices = window.easelQualities?.[model] ?? begun[model] ?? [], helpers = choices.map((one) => one.lora).filter(Boolean);
  const cards = Array.isArray(rack) ? rack : [];"""
_CHOOSE = """(model, steps, guidance, scheduler, schedule, rack) => {
  __OFFERED__
  const chosen = choices.find((one) => one.name === window.easelQuality);
  if (!chosen) return [null, steps, guidance, scheduler, schedule, rack];
  const others = cards.filter((one) => !helpers.includes(one.name)), helper = { name: chosen.lora, weight: 1, is_muted: false };
  const seen = { __type__: "update", value: chosen.name, info: chosen.about };
  return [seen, chosen.steps, chosen.guidance, chosen.scheduler, "", chosen.lora ? [...others, helper] : others];
}"""
_RECOGNISE = """(model, steps, guidance, scheduler, rack) => {
  __OFFERED__
  const on = cards.filter((one) => !one.is_muted && helpers.includes(one.name)).map((one) => one.name).join();
  const found = choices.find((one) => one.steps === steps && one.guidance === guidance && one.scheduler === scheduler && on === (one.lora || ""));
  return { __type__: "update", value: found?.name ?? null, info: found?.about ?? info };
}"""
