"""The form of the Text tab, in three depths: words, look, expert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from engine import SCHEDULER_LABELS, SCHEDULER_NOTES, STEPS_MAX, ModelCard
from ui.forms import FIELDS, guidance_word, size_label


@dataclass(frozen=True)
class TextForm:
    """The components by the names of `ui.forms.FIELDS`, the buttons, and the size labels that the model likes."""

    fields: dict[str, gr.components.Component]
    go: gr.Button
    halt: gr.Button
    sizes: list[str]

    def inputs(self) -> list[gr.components.Component]:
        return [self.fields[name] for name in FIELDS]


def named(values: tuple[Any, ...]) -> dict[str, Any]:
    """Values in the order of `TextForm.inputs`, by name."""
    return dict(zip(FIELDS, values, strict=True))


def build_text_form(card: ModelCard) -> TextForm:
    sizes = [size_label(*size) for size in card.sizes]
    fields: dict[str, gr.components.Component] = {}
    fields["prompt"] = gr.Textbox(
        label="Prompt", placeholder="A red mushroom in a forest by day", lines=3, max_lines=8, autofocus=True, elem_id="ctl-prompt"
    )
    with gr.Accordion("What you do not want", open=False, elem_classes="fold"):
        fields["negative_prompt"] = gr.Textbox(
            label="Negative prompt", placeholder="blurry, low quality", lines=2, max_lines=4, elem_id="ctl-negative_prompt"
        )
    fields["size"] = gr.Radio(sizes, value=size_label(*card.default_size), label="Size", elem_id="ctl-size", elem_classes="chips")
    fields["count"] = gr.Radio([1, 2, 4, 8], value=1, label="How many", elem_id="ctl-count", elem_classes="chips")
    fields["guidance_scale"] = guidance = gr.Slider(
        1, 15, value=card.default_guidance, step=0.5, label="Guidance", info=_guidance_info(card.default_guidance), elem_id="ctl-guidance_scale"
    )
    fields["steps"] = gr.Slider(
        1, STEPS_MAX, value=card.default_steps, step=1, label="Steps", info="More steps, more finish and more time", elem_id="ctl-steps"
    )
    with gr.Accordion("Expert", open=False, elem_classes="fold"):
        choices = [(f"{label}: {SCHEDULER_NOTES[key]}", key) for key, label in SCHEDULER_LABELS.items()]
        fields["scheduler"] = gr.Dropdown(choices, value=card.default_scheduler, label="Sampler", elem_id="ctl-scheduler")  # type: ignore[arg-type]
        with gr.Row(elem_classes="seed-row"):
            fields["seed"] = seed = gr.Textbox(label="Seed", placeholder="a new one each time", max_lines=1, elem_id="ctl-seed", min_width=120)
            dice = gr.Button("New seed", size="sm", elem_id="dice", min_width=90)
        fields["is_seed_kept"] = kept = gr.Checkbox(label="Keep this seed for the next picture", value=False, elem_id="ctl-is_seed_kept")
        with gr.Row():
            fields["width"] = gr.Textbox(label="Own width", placeholder="from the size", max_lines=1, elem_id="ctl-width", min_width=100)
            fields["height"] = gr.Textbox(label="Own height", placeholder="from the size", max_lines=1, elem_id="ctl-height", min_width=100)
    with gr.Row(elem_id="go-row"):
        go = gr.Button("Generate", variant="primary", elem_id="go")
        halt = gr.Button("Stop", variant="stop", elem_id="halt", visible=False)
    guidance.change(None, guidance, guidance, js=_GUIDANCE_JS, show_progress="hidden", api_visibility="private")
    dice.click(None, None, [seed, kept], js="() => [String(Math.floor(Math.random() * 4294967296)), true]", api_visibility="private")
    return TextForm(fields, go, halt, sizes)


def _guidance_info(scale: float) -> str:
    return f"How closely to follow the words: {guidance_word(scale)}"


# The word beside the slider follows the thumb without asking the server.
_GUIDANCE_JS = """(scale) => {
  const word = scale <= 2.5 ? "loose" : scale <= 7 ? "balanced" : "literal";
  const info = [...document.querySelectorAll("#ctl-guidance_scale *")].find((e) => !e.children.length && e.textContent.startsWith("How closely"));
  if (info) info.textContent = "How closely to follow the words: " + word;
  return scale;
}"""
