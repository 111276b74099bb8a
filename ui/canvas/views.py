"""While inpainting, the stage column shows the mask editor or the result; this says which."""

from __future__ import annotations

import gradio as gr

_TEMPLATE = """
<div class="views" role="group" aria-label="What the stage shows">
  <button type="button" data-set-view="paint">Paint</button><button type="button" data-set-view="result">Result</button>
</div>
"""


def build_views() -> gr.HTML:
    return gr.HTML("", html_template=_TEMPLATE, js_on_load="", elem_id="views", elem_classes="for-inpaint", apply_default_css=False)
