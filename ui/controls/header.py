"""The top line: the name, the theme, the keys."""

from __future__ import annotations

import gradio as gr

_KEYS = (
    ("Ctrl + Enter", "Generate"), ("Esc", "Stop, or leave full screen"), ("← →", "Through the results"),
    ("F", "Full screen"), ("U", "Reuse the settings of the picture on the stage"), ("?", "This overview"),
)  # fmt: skip
_HALF_MOON = '<svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="8"/><path d="M12 4a8 8 0 0 1 0 16z" fill="currentColor"/></svg>'


def build_header(model_title: str) -> gr.HTML:
    keys = "".join(f"<dt><kbd>{key}</kbd></dt><dd>{what}</dd>" for key, what in _KEYS)
    template = f"""
    <header class="top"><h1>Easel</h1><span class="top-model" title="The model that draws">{{{{model}}}}</span><span class="top-space"></span>
      <button type="button" id="theme-toggle" aria-label="Light or dark">{_HALF_MOON}</button>
      <button type="button" id="keys-open" aria-label="Keyboard shortcuts">?</button></header>
    <dialog id="keys" aria-label="Keyboard shortcuts"><h2>Keys</h2><dl>{keys}</dl><button type="button" id="keys-close">Close</button></dialog>
    """
    return gr.HTML("", html_template=template, js_on_load="", elem_id="top", apply_default_css=False, model=model_title)
