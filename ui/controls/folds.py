"""What acts from inside a closed fold, in a word or two on its title: nothing works unseen after a reload."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import gradio as gr

from engine import GUIDANCE_LABELS, SCHEDULER_LABELS, SCORE_LABELS, ModelCard

_HERE = Path(__file__).parent


def build_folds(models: Sequence[ModelCard]) -> gr.HTML:
    """A part without a place of its own. Event: `apply` = the form may have changed while its folds were closed."""
    labels = {"style": GUIDANCE_LABELS, "score": SCORE_LABELS, "scheduler": SCHEDULER_LABELS}
    own = {card.name: card.default_scheduler for card in models}
    script = (_HERE / "folds.js").read_text(encoding="utf-8").replace("__LABELS__", json.dumps(labels)).replace("__OWN__", json.dumps(own))
    return gr.HTML("", html_template="<i></i>", js_on_load=script, elem_id="folds", apply_default_css=False)


def wire_folds(folds: gr.HTML, rack: gr.HTML, fields: Mapping[str, gr.components.Component], names: Sequence[str]) -> None:
    """Every change tells the folds, and a form that has been filled."""
    inputs = [rack, *(fields[name] for name in names)]
    tell = f"(rack, {', '.join(names)}) => {{ window.dispatchEvent(new CustomEvent('easel:form', {{ detail: {{ rack, {', '.join(names)} }} }})); }}"
    changes = [one.change for one in inputs]  # type: ignore[attr-defined]
    gr.on([folds.apply, *changes], None, inputs, None, js=tell, show_progress="hidden", api_visibility="private")  # type: ignore[arg-type]
