"""The stage: the running preview, the finished picture, and every state between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

_HERE = Path(__file__).parent
_TEMPLATE = """
<section class="stage" data-kind="empty" aria-label="Stage">
  <div class="stage-frame">
    <img class="stage-picture" alt="" hidden>
    <div class="stage-empty"></div>
    <div class="stage-words" hidden><p class="stage-title"></p><p class="stage-hint"></p><button type="button" class="stage-retry">Try again</button></div>
    <button type="button" class="stage-close" aria-label="Leave full screen" hidden>Close</button>
  </div>
  <div class="stage-bar" aria-hidden="true"><i></i></div>
  <footer class="stage-foot">
    <p class="stage-status" role="status" aria-live="polite"></p>
    <p class="stage-facts"></p>
    <div class="stage-actions" hidden>
      <button type="button" data-do="reuse" title="Put these settings into the form (U)">Reuse settings</button>
      <button type="button" data-do="full" title="Full screen (F)">Full screen</button>
      <a data-do="download" download>Download</a>
    </div>
  </footer>
</section>
"""


def build_stage(examples: list[dict[str, Any]], value: dict[str, Any]) -> gr.HTML:
    """A gr.HTML whose value is a view from `ui.stream`. Events: `select` = reuse settings, `submit` = run an example."""
    script = (_HERE / "stage.js").read_text(encoding="utf-8").replace("__EXAMPLES__", json.dumps(examples).replace("<", "\\u003c"))
    return gr.HTML(value, html_template=_TEMPLATE, js_on_load=script, elem_id="stage", apply_default_css=False)
