"""How the prompts, what stands under them, and the plan of the steps hear of each other. All in the browser."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ui.run import HIDDEN, Page

# What the plan of the steps depends on, in the order in which `plan.js` is told.
_PLANNED = ("scheduler", "schedule", "steps", "guidance_scale", "strength", "inpaint_strength", "upscale_strength", "how", "size", "width", "height")


def wire_writing(page: Page) -> None:
    form = page.form
    prompts = [form.fields[control] for control in form.words]
    for control, under in form.words.items():
        field: Any = form.fields[control]
        field.change(None, field, under, js=_HEAR.replace("CONTROL", control), **HIDDEN)
        under.select(None, prompts, prompts, js=_WRITE, **HIDDEN)
    page.blocks.load(None, None, list(form.words.values()), js=_HEAR_ALL, **HIDDEN)
    planned: list[Any] = [page.mode, form.fields["model"], form.rack, form.source, *(form.fields[name] for name in _PLANNED)]
    gr.on([page.blocks.load, *(one.change for one in planned)], None, planned, form.plan, js=_PLAN, **HIDDEN)


# Both texts are kept where each of the fields' helpers can read them: a folded one may not be on the page yet.
_HEAR = """(text) => {
  window.easelWords = { prompt: "", negative_prompt: "", ...window.easelWords, CONTROL: text || "" };
  window.dispatchEvent(new CustomEvent("easel:words"));
  return text || "";
}"""
_HEAR_ALL = "() => { const words = window.easelWords || {}; return [words.prompt || '', words.negative_prompt || '']; }"
_WRITE = "(prompt, negative) => window.easelWritten || [prompt, negative]"
_PLAN = """(mode, model, rack, source, scheduler, schedule, steps, guidance, strength, inpaint, upscale, how, size, width, height) => ({
  mode, how, size, width, height, source: source?.width ? [source.width, source.height] : null, model, loras: (rack || []).filter((one) => !one.is_muted).map((one) => one.name), scheduler, schedule, steps, guidance, strength: { img2img: strength, inpaint, upscale }[mode] ?? 1,
})"""
