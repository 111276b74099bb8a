"""The mask editor: paint over the source at display size; strokes, not pixels, go to Python."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from engine import EXPAND_MAX

_HERE = Path(__file__).parent


def _tool(name: str, title: str, path: str) -> str:
    icon = f'<svg viewBox="0 0 24 24" aria-hidden="true"><path d="{path}"/></svg>'
    return f'<button type="button" data-tool="{name}" aria-pressed="false" aria-label="{title}" title="{title}">{icon}</button>'


def _act(name: str, title: str, path: str) -> str:
    icon = f'<svg viewBox="0 0 24 24" aria-hidden="true"><path d="{path}"/></svg>'
    return f'<button type="button" data-act="{name}" aria-label="{title}" title="{title}">{icon}</button>'


_TOOLS = (
    _tool("brush", "Brush (B)", "M4 20c3 0 5-1 5-4a2 2 0 0 0-4 0c0 2-1 3-1 4zM9 14 19 4l1 1-10 10"),
    _tool("erase", "Eraser (E)", "M5 15 14 6l5 5-8 8H8zM10 10l5 5M12 19h8"),
    _tool("lasso", "Lasso (L); hold Alt to take away", "M12 5c5 0 8 2 8 5s-3 5-8 5-8-2-8-5 3-5 8-5zM7 14c-1 2 0 4 2 5"),
    _tool("fill", "Fill (G)", "M5 12 12 5l7 7-7 7zM5 12h14M20 16c1 2 1 3 0 3s-1-1 0-3z"),
)
_ACTS = (
    _act("undo", "Undo (Ctrl+Z)", "M9 8H16a4 4 0 0 1 0 9H9M9 8l3-3M9 8l3 3"),
    _act("redo", "Redo (Ctrl+Shift+Z)", "M15 8H8a4 4 0 0 0 0 9h7M15 8l-3-3M15 8l-3 3"),
    _act("invert", "Invert (I)", "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 4v16M12 8h6M12 12h8M12 16h6"),
    _act("clear", "Clear (Del)", "M5 7h14M9 7V5h6v2M7 7l1 12h8l1-12"),
)
_VIEWS = (
    _act("out", "Zoom out (−)", "M6 12h12"),
    _act("fit", "Fit (0)", "M5 9V5h4M15 5h4v4M19 15v4h-4M9 19H5v-4"),
    _act("in", "Zoom in (+)", "M6 12h12M12 6v12"),
)
_LOAD = _act("load", "Load a mask: white is painted anew", "M12 15V5M8 9l4-4 4 4M5 15v4h14v-4")
_SIDES = (("left", "Left"), ("top", "Top"), ("right", "Right"), ("bottom", "Bottom"))
_GROW = "".join(
    f'<label>{name}<input type="number" id="ctl-expand_{side}" data-side="{side}" min="0" max="{EXPAND_MAX}" step="8" value="0" inputmode="numeric"></label>'
    for side, name in _SIDES
)
_TEMPLATE = f"""
<section class="editor" id="ctl-mask" aria-label="Mask editor" tabindex="-1">
  <div class="editor-bar" role="toolbar" aria-label="Mask tools">
    <span class="editor-set">{"".join(_TOOLS)}</span>
    <label class="editor-size">Size<input type="range" min="1" max="400" value="40" aria-label="Brush size in pixels"><output>40</output></label>
    <span class="editor-set">{"".join(_ACTS)}</span>
    <span class="editor-set">{"".join(_VIEWS)}<output class="editor-zoom">100 %</output>{_LOAD}</span>
  </div>
  <div class="editor-board">
    <canvas aria-label="The source picture with the mask over it. Draw to mark what is painted anew."></canvas>
    <button type="button" class="editor-none"><b>Choose a picture to repaint</b><span>drop one, paste one, or send one from the results</span></button>
  </div>
  <input type="file" class="editor-file" tabindex="-1" aria-label="Mask file" accept="image/*" hidden>
  <footer class="editor-foot"><span class="editor-words" role="status" aria-live="polite"></span><span class="editor-grow"><b>Grow</b>{_GROW}</span></footer>
</section>
"""


def build_editor() -> gr.HTML:
    """A gr.HTML whose value is {{source, base, strokes, expand}}: see `engine.Stroke`; base is an earlier mask's hash or None."""
    script = (_HERE / "editor.js").read_text(encoding="utf-8")
    return gr.HTML(None, html_template=_TEMPLATE, js_on_load=script, elem_id="editor", apply_default_css=False)
