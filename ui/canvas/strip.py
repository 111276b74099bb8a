"""The results tray: newest first, a click shows a picture on the stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

_HERE = Path(__file__).parent
_TEMPLATE = """
<section class="strip" aria-label="Results">
  <h2>Results</h2>
  <p class="strip-none">Your pictures gather here. Only you see them.</p>
  <ol class="strip-list"></ol>
</section>
"""


def build_strip(value: list[dict[str, Any]]) -> gr.HTML:
    """A gr.HTML whose value is a list of `ui.links.picture_view`."""
    script = (_HERE / "strip.js").read_text(encoding="utf-8")
    return gr.HTML(value, html_template=_TEMPLATE, js_on_load=script, elem_id="strip", apply_default_css=False)
