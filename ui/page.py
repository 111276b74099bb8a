"""The page, built from its parts."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from engine import Engine
from ui.api import add_api
from ui.bell import Bell
from ui.canvas.compare import build_compare
from ui.canvas.editor import build_editor
from ui.canvas.line import build_line
from ui.canvas.models import build_models
from ui.canvas.offer import build_offer
from ui.canvas.stage import build_stage
from ui.canvas.strip import build_strip
from ui.canvas.views import build_views
from ui.carried import wire_carried
from ui.controls.form import build_form
from ui.controls.header import build_header
from ui.links import browser_key
from ui.routes import PRESETS
from ui.run import Page, wire_run
from ui.sending import wire_sending
from ui.writing import wire_writing


def build_page(engine: Engine, bell: Bell) -> gr.Blocks:
    """Controls, stage and tray. The stage and the tray are one for all tabs."""
    card = engine.model()
    with gr.Blocks(title="Easel", fill_width=True, analytics_enabled=False) as blocks:
        mode = build_header(card, engine.memory.fit(card.parts) if card.parts else None, has_people=engine.people is not None)
        with gr.Row(elem_id="room", equal_height=False):
            with gr.Column(elem_id="models-column"):
                models = build_models(card.name)
            with gr.Column(elem_id="controls", min_width=300):
                offer = build_offer()
                form = build_form(card, engine, models)
            with gr.Column(elem_id="stage-column", min_width=300):
                build_views()
                editor = build_editor()
                stage = build_stage(load_examples(), {"kind": "empty"})
                wipe = build_compare()
            with gr.Column(elem_id="tray", min_width=160):
                line = build_line()
                build_strip()
        page = Page(
            blocks=blocks,
            engine=engine,
            form=form,
            mode=mode,
            editor=editor,
            stage=stage,
            line=line,
            wipe=wipe,
            bell=bell,
            browser_key=browser_key(engine.secret),
        )
        wire_run(page)
        wire_sending(page)
        wire_carried(page, offer)
        wire_writing(page)
    # A page of their own, which nobody visits: a browser would be sent each of their parameters as a component.
    with blocks.route("Endpoints", "/endpoints", show_in_navbar=False):
        add_api(engine)
    return blocks


def load_examples() -> list[dict[str, Any]]:
    """Example prompts with the addresses of their pictures."""
    examples: list[dict[str, Any]] = json.loads((PRESETS / "examples.json").read_text(encoding="utf-8"))
    return [{**example, "image": f"/examples/{number}.jpg"} for number, example in enumerate(examples, start=1)]
