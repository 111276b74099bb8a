"""Sampler and noise schedule: native lists in groups, what does not exist disabled with its reason, the walk down the noise, advice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from engine import (
    SCHEDULE_LABELS,
    SCHEDULE_NOTES,
    SCHEDULER_FACTS,
    SCHEDULER_GROUPS,
    SCHEDULER_LABELS,
    ModelCard,
    samplers_of,
    schedules_of,
)

_HERE = Path(__file__).parent
_TEMPLATE = """
<div class="choice"><label for="choose-__NAME__">__LABEL__</label>
  <select id="choose-__NAME__" aria-describedby="about-__NAME__"></select><p class="choice-note" id="about-__NAME__"></p></div>
"""
_PLOT = """
<figure class="plan">
  <svg viewBox="0 0 320 64" preserveAspectRatio="none" role="img" aria-label="Noise before each step"><g></g></svg>
  <figcaption><span>noise</span><span class="plan-words"></span><span>picture</span></figcaption>
</figure>
"""


@dataclass(frozen=True)
class Sampling:
    """Values are keys; "" is the model's own noise schedule."""

    scheduler: gr.HTML
    schedule: gr.HTML


def build_sampling(card: ModelCard) -> Sampling:
    groups = [
        {"label": label, "options": [[name, facts.label, facts.note] for name, facts in SCHEDULER_FACTS.items() if facts.group == group]}
        for group, label in SCHEDULER_GROUPS.items()
    ]
    # Those of the model that the page begins with; the browser knows of the others.
    scheduler = _choice("scheduler", "Sampler", card.default_scheduler, groups=groups, samplers=samplers_of(card.family))
    own = [{"label": "", "options": [["", "The model's own", "how the steps are spread over the noise"]]}]
    laid_out = [{"label": "Laid out anew", "options": [[name, SCHEDULE_LABELS[name], SCHEDULE_NOTES[name]] for name in SCHEDULE_LABELS]}]
    exists = {name: list(schedules_of(name)) for name in SCHEDULER_FACTS}
    schedule = _choice("schedule", "Noise schedule", "", groups=own + laid_out, exists=exists, labels=dict(SCHEDULER_LABELS))
    gr.HTML("", html_template=_PLOT, js_on_load=(_HERE / "plot.js").read_text(encoding="utf-8"), elem_id="plan-plot", apply_default_css=False)
    return Sampling(scheduler, schedule)


def build_plan() -> gr.HTML:
    """Advice about the steps as they are set. It also tells the plots; its value is what they depend on."""
    script = (_HERE / "plan.js").read_text(encoding="utf-8")
    template = '<ul class="advice" id="advice" role="status" aria-label="About these steps"></ul>'
    return gr.HTML(None, html_template=template, js_on_load=script, elem_id="plan", apply_default_css=False)


def _choice(name: str, label: str, value: str, **props: object) -> gr.HTML:
    template = _TEMPLATE.replace("__NAME__", name).replace("__LABEL__", label)
    # In the script, not beside it: a value that comes before the fold is opened takes every other property away.
    script = (_HERE / "choice.js").read_text(encoding="utf-8").replace("__CHOICES__", json.dumps({"name": name, **props}))
    return gr.HTML(value, html_template=template, js_on_load=script, elem_id=f"ctl-{name}", apply_default_css=False)
