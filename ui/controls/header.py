"""The top line: the name, the tabs, the model and what is known of it, the theme, the settings, the keys. Its value is the tab."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

from engine import Fit, ModelCard
from ui.controls.about import about_view
from ui.controls.settings import settings_dialog

MODES = {"txt2img": "Text", "img2img": "Image", "inpaint": "Inpaint", "controlnet": "ControlNet", "upscale": "Upscale"}
_KEYS = (
    ("Ctrl + Enter", "Generate"), ("Esc", "Stop, or leave full screen"), ("1 – 5", "Tabs"), ("← →", "Through the results"),
    ("F", "Full screen"), ("U", "Reuse the settings of the picture on the stage"), ("Ctrl + Z", "Undo in the form, or in the mask"),
    ("P", "Paint or result, while inpainting"), ("B E L G", "Brush, eraser, lasso, fill"), ("[ ]", "Brush smaller, larger"),
    ("+ − 0", "Zoom, fit"), ("Space", "Hold to move the picture"), ("I", "Invert the mask"), ("Del", "Clear the mask; in the results, to the bin"), ("?", "This overview"),
)  # fmt: skip
_HALF_MOON = '<svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="8"/><path d="M12 4a8 8 0 0 1 0 16z" fill="currentColor"/></svg>'
_SLIDERS = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 7h9M19 7h1M4 17h1M11 17h9"/><circle cx="16" cy="7" r="3"/><circle cx="8" cy="17" r="3"/></svg>'


def build_header(model: ModelCard, fits: Fit | None, *, has_people: bool) -> gr.HTML:
    keys = "".join(f"<dt><kbd>{key}</kbd></dt><dd>{what}</dd>" for key, what in _KEYS)
    tabs = "".join(
        f'<button type="button" role="tab" aria-selected="false" aria-controls="controls" data-mode="{mode}">{name}</button>'
        for mode, name in MODES.items()
    )
    # A place, not a way to draw: what runs stays in sight beside it, and the chosen tab stays chosen.
    place = '<button type="button" role="tab" aria-selected="false" aria-controls="models-column" data-place="models" tabindex="-1">Models</button>'
    template = f"""
    <header class="top"><h1>Easel</h1><div class="tabs" role="tablist" aria-label="What to do">{tabs}{place}</div><span class="top-space"></span>
      <button type="button" class="top-model" title="The model that draws"></button>
      <button type="button" class="top-about" data-about aria-haspopup="dialog" aria-label="About this model">About</button>
      <button type="button" id="theme-toggle" aria-label="Light or dark">{_HALF_MOON}</button>
      <button type="button" id="settings-open" aria-label="Settings">{_SLIDERS}</button>
      <button type="button" id="keys-open" aria-label="Keyboard shortcuts">?</button></header>
    <dialog id="keys" aria-label="Keyboard shortcuts"><h2>Keys</h2><dl>{keys}</dl>
      <button type="button" id="keys-close">Close</button> <button type="button" data-about aria-haspopup="dialog">About this model</button></dialog>
    <dialog id="about" aria-labelledby="about-title"><h2 id="about-title" tabindex="-1"></h2><dl></dl>
      <div class="about-foot"><button type="button" id="about-close">Close</button></div></dialog>
    {settings_dialog(has_people=has_people)}
    """
    # Each in a block of its own: their names are their own too.
    script = "".join(f"{{\n{Path(__file__).with_name(f'{name}.js').read_text(encoding='utf-8')}\n}}\n" for name in ("header", "settings"))
    # What a folder says of its model goes in as text, never as markup.
    script = script.replace(
        "__ABOUT__",
        json.dumps({"title": model.title, "about": about_view(model, fits)}).replace("<", "\\u003c"),
    )
    return gr.HTML("txt2img", html_template=template, js_on_load=script, elem_id="top", apply_default_css=False)
