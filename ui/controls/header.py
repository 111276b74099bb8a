"""The top line: the name, the tabs, the theme, the keys. Its value is the tab."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

MODES = {"txt2img": "Text", "img2img": "Image", "inpaint": "Inpaint", "controlnet": "ControlNet", "upscale": "Upscale"}
_KEYS = (
    ("Ctrl + Enter", "Generate"), ("Esc", "Stop, or leave full screen"), ("1 – 5", "Tabs"), ("← →", "Through the results"),
    ("F", "Full screen"), ("U", "Reuse the settings of the picture on the stage"), ("Ctrl + Z", "Undo in the form, or in the mask"),
    ("P", "Paint or result, while inpainting"), ("B E L G", "Brush, eraser, lasso, fill"), ("[ ]", "Brush smaller, larger"),
    ("+ − 0", "Zoom, fit"), ("Space", "Hold to move the picture"), ("I", "Invert the mask"), ("Del", "Clear the mask"), ("?", "This overview"),
)  # fmt: skip
_HALF_MOON = '<svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="8"/><path d="M12 4a8 8 0 0 1 0 16z" fill="currentColor"/></svg>'


def build_header(model_title: str) -> gr.HTML:
    keys = "".join(f"<dt><kbd>{key}</kbd></dt><dd>{what}</dd>" for key, what in _KEYS)
    tabs = "".join(
        f'<button type="button" role="tab" aria-selected="false" aria-controls="controls" data-mode="{mode}">{name}</button>'
        for mode, name in MODES.items()
    )
    # A place, not a way to draw: what runs stays in sight beside it, and the chosen tab stays chosen.
    place = '<button type="button" role="tab" aria-selected="false" aria-controls="models-column" data-place="models" tabindex="-1">Models</button>'
    template = f"""
    <header class="top"><h1>Easel</h1><div class="tabs" role="tablist" aria-label="What to do">{tabs}{place}</div><span class="top-space"></span>
      <button type="button" class="top-model" title="The model that draws">{{{{model}}}}</button>
      <button type="button" id="theme-toggle" aria-label="Light or dark">{_HALF_MOON}</button>
      <button type="button" id="keys-open" aria-label="Keyboard shortcuts">?</button></header>
    <dialog id="keys" aria-label="Keyboard shortcuts"><h2>Keys</h2><dl>{keys}</dl><button type="button" id="keys-close">Close</button></dialog>
    """
    script = Path(__file__).with_name("header.js").read_text(encoding="utf-8")
    return gr.HTML("txt2img", html_template=template, js_on_load=script, elem_id="top", apply_default_css=False, model=model_title)
