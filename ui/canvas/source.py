"""The source picture of a tab: dropped, pasted, chosen, or sent from a result."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from engine import UPLOAD_BYTES_MAX

_HERE = Path(__file__).parent
_TEMPLATE = """
<section class="source" id="ctl-source" aria-label="Source picture">
  <button type="button" class="source-drop"><b>Choose a picture</b><span>or drop one, or paste one; a zip is a folder</span></button>
  <div class="source-here" hidden>
    <div class="source-frame"><img alt="Source picture"></div>
    <div class="source-facts"><p class="source-name"></p><p class="source-note"></p>
      <span class="source-tools"><button type="button" data-do="other">Other picture</button><button type="button" data-do="remove">Remove</button></span></div>
  </div>
  <p class="source-error" role="alert" hidden></p>
  <input type="file" tabindex="-1" aria-label="Source picture file" accept="image/*,.zip,application/zip" hidden>
</section>
"""


def build_source() -> gr.HTML:
    """A gr.HTML whose value is None, a `ui.links.source_view`, or a folder. Event: `upload` = a new picture is here."""
    script = (_HERE / "source.js").read_text(encoding="utf-8")
    return gr.HTML(
        None,
        html_template=_TEMPLATE,
        js_on_load=script,
        elem_id="source",
        elem_classes="not-txt2img",
        apply_default_css=False,
        bytes_max=UPLOAD_BYTES_MAX,
    )
