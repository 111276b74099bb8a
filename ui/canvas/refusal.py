"""What was refused before there was a job: one line beside Generate, in sight on every tab, that leads to the control it is about."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from engine import CONTROL_NAMES, EngineError

_HERE = Path(__file__).parent
# Controls whose label on the page is not the contract's name for them.
_LABELS = {"width": "Own width", "height": "Own height", "count": "How many", "seamless": "Seamless texture"}
_TEMPLATE = """
<div class="refusal" hidden>
  <p class="refusal-said" role="alert"></p>
  <button type="button" class="refusal-show">Show me</button><button type="button" class="refusal-leave" aria-label="Close this message">✕</button>
</div>
"""


def build_refusal(folds: Mapping[str, str]) -> gr.HTML:
    """A gr.HTML whose value is a `refusal_view` or None. `folds`: the element in whose fold a control lies, by the control's name."""
    script = (_HERE / "refusal.js").read_text(encoding="utf-8").replace("__FOLDS__", json.dumps(dict(folds)))
    return gr.HTML(None, html_template=_TEMPLATE, js_on_load=script, elem_id="refusal", apply_default_css=False)


def refusal_view(error: EngineError) -> dict[str, Any]:
    """In the page's words. `at` makes a second refusal of the same thing another one."""
    message, label = error.message, _LABELS.get(error.field or "")
    if label is not None:
        name = CONTROL_NAMES[error.field or ""]
        message = label + message.removeprefix(name) if message.startswith(f"{name} ") else message
    return {"text": message, "hint": error.hint, "field": error.field, "at": str(time.monotonic_ns())}
