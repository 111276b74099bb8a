"""The results tray: newest first, more while scrolling, a bin. A click shows a picture on the stage."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

_HERE = Path(__file__).parent
_TEMPLATE = """
<section class="strip" aria-label="Results">
  <div class="strip-head"><h2 class="strip-title">Results</h2><button type="button" class="strip-bin" aria-pressed="false" hidden>Bin</button></div>
  <p class="strip-none">Your pictures gather here. Only you see them.</p>
  <div class="strip-empty" hidden><button type="button" class="strip-clear">Empty the bin</button>
    <span class="strip-sure" hidden><b></b><button type="button" class="strip-yes">Destroy</button><button type="button" class="strip-no">Keep</button></span></div>
  <ol class="strip-list"></ol>
  <button type="button" class="strip-more" hidden>Show more</button>
  <p class="strip-said" hidden><span role="status" aria-live="polite"></span><button type="button" class="strip-undo" hidden>Undo</button></p>
</section>
"""


def build_strip() -> gr.HTML:
    """A gr.HTML that fills itself from `ui.following` and `ui.tray`."""
    script = (_HERE / "strip.js").read_text(encoding="utf-8")
    return gr.HTML("", html_template=_TEMPLATE, js_on_load=script, elem_id="strip", apply_default_css=False)
