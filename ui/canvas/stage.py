"""The stage: the running preview, the finished picture, the sheet of many, and every state between."""

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
    <div class="stage-tiled" role="img" aria-label="The texture, three by three" hidden></div>
    <div class="stage-sheet" role="group" hidden></div>
    <div class="stage-empty"><div class="stage-examples"></div><button type="button" class="stage-others">Other ideas</button></div>
    <div class="stage-words" hidden><p class="stage-title"></p><p class="stage-hint"></p><button type="button" class="stage-retry">Try again</button></div>
    <p class="stage-ask" role="group" aria-label="The half-finished picture" hidden><span>It was stopped half-way. From now on:</span>
      <button type="button" data-stop="keep">Keep such pictures</button><button type="button" data-stop="drop">Throw them away</button></p>
    <button type="button" class="stage-close" aria-label="Leave full screen" hidden>Close</button>
  </div>
  <div class="stage-bar" aria-hidden="true"><i></i></div>
  <footer class="stage-foot">
    <p class="stage-status" role="status" aria-live="polite"></p>
    <p class="stage-facts"></p>
    <div class="stage-actions" hidden>
      <button type="button" data-do="sheet" title="Back to all cells" hidden>Sheet</button>
      <button type="button" data-do="go-on" title="Draw the tiles that are missing" hidden>Go on</button>
      <button type="button" data-do="reuse" title="Put these settings into the form (U)">Reuse settings</button>
      <span class="stage-send"><button type="button" data-do="send" aria-haspopup="menu" aria-expanded="false">Send to</button>
        <span class="stage-menu" role="menu" hidden>
          <button type="button" role="menuitem" data-to="img2img">Image</button><button type="button" role="menuitem" data-to="inpaint">Inpaint</button>
          <button type="button" role="menuitem" data-to="controlnet">ControlNet</button><button type="button" role="menuitem" data-to="reference">Reference</button>
          <button type="button" role="menuitem" data-to="upscale">Upscale</button><button type="button" role="menuitem" data-to="txt2img">Text (settings only)</button>
        </span></span>
      <button type="button" data-do="compare" title="Compare with another result by a wipe">Compare</button>
      <button type="button" data-do="tile" aria-pressed="false" title="Show the texture three by three" hidden>3 × 3</button>
      <button type="button" data-do="full" title="Full screen (F)">Full screen</button>
      <span class="stage-save"><a data-do="download" download>Download</a>
        <select data-do="format" aria-label="Kind of file" title="PNG is the original; all three carry the settings">
          <option value="png">PNG</option><option value="jpeg">JPEG</option><option value="webp">WebP</option></select></span>
    </div>
    <div class="stage-zips" hidden><a class="stage-zip" download>Download all</a><a class="stage-dataset" download>Download dataset</a></div>
  </footer>
</section>
"""


def build_stage(examples: list[dict[str, Any]], value: dict[str, Any]) -> gr.HTML:
    """A gr.HTML whose value is a view from `ui.stream` or `ui.sheets`.

    Events: `select` = reuse settings, `submit` = run an example, `upload` = send a picture to a tab or to the reference pictures, `apply` = compare two,
    `play` = go on with a stopped job, `retry` = one cell of a sheet again.
    """
    script = (_HERE / "stage.js").read_text(encoding="utf-8").replace("__EXAMPLES__", json.dumps(examples).replace("<", "\\u003c"))
    return gr.HTML(value, html_template=_TEMPLATE, js_on_load=script, elem_id="stage", apply_default_css=False)
