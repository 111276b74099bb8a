"""More pictures that an edit looks at beside its source."""

from __future__ import annotations

import gradio as gr

from engine import UPLOAD_BYTES_MAX, ModelCard, pictures_taken
from ui.canvas.scripts import card_script

_TEMPLATE = """
<section class="pictures" id="ctl-pictures" aria-label="More pictures">
  <ul class="units-list"></ul><div class="pictures-add"></div><p class="source-error" role="alert" hidden></p>
</section>
"""


def build_pictures(card: ModelCard) -> gr.HTML:
    """A gr.HTML whose value is a list of `ui.links.source_view`, in the order in which the sentence counts them, from the second on."""
    return gr.HTML(
        [],
        html_template=_TEMPLATE,
        js_on_load=card_script("pictures"),
        elem_id="pictures",
        apply_default_css=False,
        most=pictures_taken(card),
        bytes_max=UPLOAD_BYTES_MAX,
    )
