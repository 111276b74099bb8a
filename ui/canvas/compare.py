"""Two results under a wipe slider, each whole, with what sets them apart."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import gradio as gr
from PIL import Image

from engine import SCHEDULER_FACTS, NotFound, Picture, Recipe

Pair = tuple[Image.Image, Image.Image]
# What a bar beside a narrower picture looks like: the ground of the stage, which lies in style.css.
_GROUND = {True: (0x12, 0x13, 0x15), False: (0xE7, 0xE7, 0xE5)}


@dataclass(frozen=True)
class Wipe:
    """Both pictures, and the words under each."""

    slider: gr.ImageSlider
    said: gr.HTML


def build_compare() -> Wipe:
    """Shown while the body's view is "compare"."""
    with gr.Column(elem_id="compare"):
        slider = gr.ImageSlider(format="png", interactive=False, show_label=False, buttons=[], max_height=2000, container=False, elem_id="wipe")
        said = gr.HTML("", elem_id="compare-said", apply_default_css=False)
        gr.HTML(
            '<p class="compare-foot"><span>Drag the line.</span><button type="button" data-set-view="result">Back to the picture</button></p>',
            apply_default_css=False,
        )
    return Wipe(slider, said)


def pair(first: Picture, second: Picture, *, is_dark: bool) -> Pair:
    """Both whole and in the middle of one frame, as large as it allows. Raises `NotFound`."""
    left, right = _open(first), _open(second)
    frame = max(left.width, right.width), max(left.height, right.height)
    return _fit(left, frame, _GROUND[is_dark]), _fit(right, frame, _GROUND[is_dark])


def _fit(image: Image.Image, frame: tuple[int, int], ground: tuple[int, int, int]) -> Image.Image:
    share = min(frame[0] / image.width, frame[1] / image.height)
    size = min(round(image.width * share), frame[0]), min(round(image.height * share), frame[1])
    whole = Image.new("RGB", frame, ground)
    whole.paste(image if image.size == size else image.resize(size, Image.Resampling.LANCZOS), ((frame[0] - size[0]) // 2, (frame[1] - size[1]) // 2))
    return whole


def captions(first: Picture, second: Picture) -> str:
    """HTML: seed and size of each side, and what differs between their recipes."""
    one, other = _told(first.recipe), _told(second.recipe)
    apart = [name for name in one if one[name] != other[name]]
    sides = [("Left", first, one), ("Right", second, other)]
    return f'<div class="compare-said">{"".join(_caption(side, picture, [told[name] for name in apart]) for side, picture, told in sides)}</div>'


def _caption(side: str, picture: Picture, apart: list[str]) -> str:
    said = escape(" · ".join(apart))
    return f"<p><b>{side}: seed {picture.seed} · {picture.width} × {picture.height}</b>{f'<span>{said}</span>' if said else ''}</p>"


def _told(recipe: Recipe) -> dict[str, str]:
    """What a designer may have changed from one picture to the next, in words."""
    return {
        "prompt": f"“{recipe.prompt[:80]}{'…' if len(recipe.prompt) > 80 else ''}”",
        "negative": f"without “{recipe.negative_prompt[:60]}”" if recipe.negative_prompt else "nothing left out",
        "model": recipe.model,
        "steps": f"{recipe.steps_run} steps",
        "guidance": f"guidance {recipe.guidance_scale:g}",
        "scheduler": SCHEDULER_FACTS[recipe.scheduler].label,
        "strength": "no source" if recipe.strength is None else f"strength {recipe.strength:g}",
        "loras": ", ".join(f"{use.name} {use.weight:g}" for use in recipe.loras or ()) or "no LoRA",
    }


def _open(picture: Picture) -> Image.Image:
    try:
        with Image.open(picture.path) as image:
            return image.convert("RGB")
    except OSError as error:
        raise NotFound("The file of this picture is gone.", "Choose another one.") from error
