"""ControlNet units: a card for every picture whose structure leads the drawing."""

from __future__ import annotations

from typing import Any

import gradio as gr

from engine import CONTROLS_MAX, NO_PREPROCESSOR, UPLOAD_BYTES_MAX, ControlCard, ModelCard, PreprocessorCard
from ui.canvas.scripts import card_script

_TEMPLATE = """
<section class="units" id="ctl-controls" aria-label="ControlNet units">
  <button type="button" class="units-title" aria-expanded="false" aria-controls="units-body">ControlNet</button>
  <div class="units-body" id="units-body" hidden><ul class="units-list"></ul><button type="button" class="units-add">Add a unit</button></div>
</section>
"""


def control_views(cards: list[ControlCard], models: list[ModelCard]) -> list[dict[str, Any]]:
    """What a card shows, and why not beside which model: never a path, never a hash."""
    return [
        {
            "name": card.name, "title": card.title, "kind": card.kind, "preprocessor": card.preprocessor, "licence": card.licence, "note": card.note,
            "refusals": {model.name: card.misfit(model) for model in models}, "size": f"{card.bytes_on_disk / 1e6:.1f} MB",
        }
        for card in cards
    ]  # fmt: skip


def method_views(cards: list[PreprocessorCard]) -> list[dict[str, Any]]:
    """What makes maps, beginning with a picture that already is one."""
    as_it_is = {
        "name": NO_PREPROCESSOR,
        "title": "It is a map already",
        "line": "The picture goes to the control as it is.",
        "is_ready": True,
        "settings": [],
    }
    return [
        *(
            {
                "name": card.name, "title": card.title, "line": f"{card.line} Licence: {card.licence}.", "is_ready": card.is_ready, "size": f"{card.size_mb} MB", "licence": card.licence,
                "settings": [
                    {"name": knob.name, "label": knob.title, "min": knob.minimum, "max": knob.maximum, "step": knob.step, "value": knob.default, "isSwitch": knob.is_switch}
                    for knob in card.settings
                ],
            }
            for card in cards
        ),
        as_it_is,
    ]  # fmt: skip


def build_units(controls: list[ControlCard], methods: list[PreprocessorCard], models: list[ModelCard], *, may_fetch: bool) -> gr.HTML:
    """A gr.HTML whose value is a list of units as `units.js` keeps them; `ui.guides` reads it."""
    script = card_script("units").replace("__MAY_FETCH__", str(may_fetch).lower())
    return gr.HTML(
        [],
        html_template=_TEMPLATE,
        js_on_load=script,
        elem_id="units",
        elem_classes="not-words",
        apply_default_css=False,
        controls=control_views(controls, models),
        methods=method_views(methods),
        most=CONTROLS_MAX,
        bytes_max=UPLOAD_BYTES_MAX,
    )
