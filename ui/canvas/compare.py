"""Two results under a wipe slider."""

from __future__ import annotations

from typing import Any

import gradio as gr
from PIL import Image

from engine import Engine, NotFound

Pair = tuple[Image.Image, Image.Image]


def build_compare() -> gr.ImageSlider:
    """Shown while the body's view is "compare"."""
    with gr.Column(elem_id="compare"):
        slider = gr.ImageSlider(format="png", interactive=False, show_label=False, buttons=[], max_height=2000, container=False, elem_id="wipe")
        gr.HTML(
            '<p class="compare-foot"><span>Drag the line. The picture chosen first is on the left.</span>'
            '<button type="button" data-set-view="result">Back to the picture</button></p>',
            apply_default_css=False,
        )
    return slider


def pair(engine: Engine, first: object, second: object, owner: str) -> Pair:
    """Both pictures, the smaller one enlarged to the larger one's size. Raises `NotFound`."""
    found = [_open(engine, one, owner) for one in (first, second)]
    size = max((one.size for one in found), key=lambda size: size[0] * size[1])
    left, right = (one if one.size == size else one.resize(size, Image.Resampling.LANCZOS) for one in found)
    return left, right


def _open(engine: Engine, picture_id: Any, owner: str) -> Image.Image:
    path = engine.picture(str(picture_id), owner).path
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError as error:
        raise NotFound("The file of this picture is gone.", "Choose another one.") from error
