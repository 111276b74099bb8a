"""What stands under a prompt: how it is read, what is odd about it, styles, and the list that `<` and `__` open."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

from engine import ModelCard

_HERE = Path(__file__).parent
# Parts that share one element; each is a script of its own.
_SCRIPTS = ("words.js", "styles.js", "offers.js")
_NAMES = {"prompt": ("Prompt", "Styles"), "negative_prompt": ("Negative prompt", "Against weak spots")}
_TEMPLATE = """
<div class="words" data-control="__CONTROL__">
  <div class="words-line">
    <button type="button" class="words-open" aria-expanded="false" aria-controls="styles-__CONTROL__">__STYLES__</button>
    <button type="button" class="words-undo" hidden></button>
    <p class="words-count"></p>
  </div>
  <p class="words-note" id="note-__CONTROL__" role="status"></p>
  <div class="words-new" hidden>
    <p class="words-strange"></p>
    <button type="button" class="words-larger" aria-expanded="false">Larger models</button>
    <p class="words-how" hidden></p>
  </div>
  <div class="offers" hidden><ul role="listbox" id="offers-__CONTROL__" aria-label="What can be named here"></ul></div>
  <p class="words-heard" role="status"></p>
  <section class="styles" id="styles-__CONTROL__" aria-label="__STYLES__" hidden>
    <input type="search" role="combobox" aria-autocomplete="list" aria-expanded="true" aria-controls="list-__CONTROL__" aria-label="Search __STYLES__"
      placeholder="Search" autocomplete="off" spellcheck="false">
    <div class="styles-list" role="listbox" id="list-__CONTROL__" aria-label="__STYLES__"></div>
    <div class="styles-shown" role="status"></div>
    <div class="styles-foot"><button type="button" class="styles-apply" disabled>Apply</button><button type="button" class="styles-close">Close</button></div>
  </section>
</div>
"""


def build_words(control: str, model: ModelCard) -> gr.HTML:
    """A gr.HTML whose value is the text of the control. Event: `select` = both fields become `window.easelWritten`."""
    template = _TEMPLATE.replace("__CONTROL__", control).replace("__STYLES__", _NAMES[control][1])
    # In braces of its own, no script sees the names of another.
    script = "\n".join(f"{{\n{(_HERE / name).read_text(encoding='utf-8')}\n}}" for name in _SCRIPTS)
    # In the script, not beside it: a value that comes before the fold is opened takes every other property away.
    script = script.replace("__ABOUT__", json.dumps({"model": model.title, "note": model.note}))
    return gr.HTML("", html_template=template, js_on_load=script, elem_id=f"words-{control}", elem_classes="words-under", apply_default_css=False)
