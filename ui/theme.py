"""The look: neutral greys, one warm accent. Colours live in style.css, so that both themes stand side by side."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

CSS = tuple(Path(__file__).with_name(name) for name in ("style.css", "words.css", "models.css"))
_SCRIPTS = tuple(Path(__file__).with_name(name) for name in ("keys.js", "typing.js", "radios.js"))


def page_script() -> str:
    """One function that runs the page's own scripts, each a function of its own."""
    return "() => {" + "".join(f"({script.read_text(encoding='utf-8').strip()})();" for script in _SCRIPTS) + "}"


def build_theme() -> gr.themes.Base:
    return gr.themes.Base(
        primary_hue=gr.themes.colors.orange,
        neutral_hue=gr.themes.colors.neutral,
        # The bundled semi-bold file lacks letters; the bold one is whole.
        font=[gr.themes.GoogleFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
        font_mono=[gr.themes.GoogleFont("IBM Plex Mono"), "monospace"],
        spacing_size=gr.themes.sizes.spacing_sm,
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_sm,
    )
