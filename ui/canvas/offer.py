"""One quiet line above the form: a picture that was brought carries its settings."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

_TEMPLATE = """
<section class="offer" aria-label="Settings in the picture" hidden>
  <p><span class="offer-said"></span> <button type="button" data-do="take">Use them</button>
    <button type="button" data-do="source">Start from it</button><button type="button" data-do="leave" aria-label="Leave them">×</button></p>
  <p class="offer-remark" role="status" hidden></p>
  <ul class="offer-missing" role="status"></ul>
</section>
"""


def build_offer() -> gr.HTML:
    """Event: `select` = take over the settings that it is given."""
    script = Path(__file__).with_name("offer.js").read_text(encoding="utf-8")
    return gr.HTML("", html_template=_TEMPLATE, js_on_load=script, elem_id="offer", apply_default_css=False)
