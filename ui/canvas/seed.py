"""The seed that the next picture keeps, in sight beside Generate while its own controls are folded away."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

_HERE = Path(__file__).parent
_TEMPLATE = """
<button type="button" class="seed-kept" title="Every picture is drawn from this seed until it is freed. A click frees it." hidden><span></span><b aria-hidden="true">✕</b></button>
"""


def build_seed() -> gr.HTML:
    """A gr.HTML whose value is the kept seed as text, or None. Events: `apply` = the form may have changed, look again; `clear` = free the seed."""
    script = (_HERE / "seed.js").read_text(encoding="utf-8")
    return gr.HTML(None, html_template=_TEMPLATE, js_on_load=script, elem_id="seed-mark", apply_default_css=False)


def wire_seed(mark: gr.HTML, seed: gr.components.Component, kept: gr.components.Component) -> None:
    """The mark says what stands in the form and keeps nothing of its own."""
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    look = "(seed, isKept) => (isKept && String(seed || '').trim()) || null"
    changes = [one.change for one in (seed, kept)]  # type: ignore[attr-defined]
    gr.on([mark.apply, *changes], None, [seed, kept], mark, js=look, **quiet)  # type: ignore[arg-type]
    mark.clear(None, None, [kept, mark], js="() => [false, null]", **quiet)  # type: ignore[arg-type]
