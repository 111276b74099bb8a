"""The visitor's line above their results: what runs, waits, is paused or has failed; and the words at the end of the work."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

_HERE = Path(__file__).parent
_TEMPLATE = """
<section class="line" aria-label="In line" hidden>
  <h2>In line</h2>
  <ol class="line-list"></ol>
  <p class="line-said" role="status" aria-live="polite"></p>
</section>
"""


def build_line() -> gr.HTML:
    """A gr.HTML that fills itself from `ui.following`. Events: `select` = put a job's settings into the form, `apply` = the line has moved."""
    script = "".join((_HERE / f"{name}.js").read_text(encoding="utf-8") for name in ("notice", "line"))
    return gr.HTML("", html_template=_TEMPLATE, js_on_load=script, elem_id="line", apply_default_css=False)
