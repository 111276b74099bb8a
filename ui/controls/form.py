"""The form: what each tab has of its own, then what all tabs share, in three depths: words, look, expert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from engine import CLIP_SKIP_MAX, GUIDANCE_FACTS, SCHEDULE_LABELS, SCHEDULER_LABELS, SCORE_LABELS, STEPS_MAX, Engine, ModelCard, Quality
from ui.canvas.rack import build_rack
from ui.canvas.references import build_references
from ui.canvas.refusal import build_refusal
from ui.canvas.seed import build_seed, wire_seed
from ui.canvas.source import build_source
from ui.canvas.units import build_units
from ui.canvas.words import build_words
from ui.controls.folds import build_folds, wire_folds
from ui.controls.guidance import build_guidance, explain_negative
from ui.controls.model import clip_state, size_labels, usable_models, vae_choices, vae_state
from ui.controls.more import build_more
from ui.controls.quality import build_quality, wire_quality
from ui.controls.sampling import build_plan, build_sampling
from ui.forms import FIELDS, guidance_word, size_label
from ui.tabs.image import build_how, build_image
from ui.tabs.inpaint import build_inpaint
from ui.tabs.upscale import build_upscale

Fields = dict[str, gr.components.Component]
# Not a control: the reason that stands in for the negative prompt.
_NOTE = "negative note"


@dataclass(frozen=True)
class Form:
    """The components by the names of `ui.forms.FIELDS`, the source picture, the racks and the buttons."""

    fields: Fields
    source: gr.HTML
    rack: gr.HTML
    units: gr.HTML
    references: gr.HTML
    # What stands under each prompt, and the plan of the steps.
    words: dict[str, gr.HTML]
    plan: gr.HTML
    go: gr.Button
    halt: gr.Button
    undo: gr.Button
    redo: gr.Button
    # Draws guidance styles side by side.
    beside: gr.Button
    # The line above Generate.
    refusal: gr.HTML

    @property
    def racks(self) -> list[gr.HTML]:
        """LoRAs, ControlNet units and reference pictures, in the order in which they travel."""
        return [self.rack, self.units, self.references]

    def inputs(self) -> list[gr.components.Component]:
        return [self.fields[name] for name in FIELDS]


def build_form(card: ModelCard, engine: Engine, models: gr.HTML) -> Form:
    """The whole form, as the model of `card` likes it; `models` is where another one is chosen."""
    sizes = size_labels(card)
    source = build_source()
    how = build_how(card)
    prompts, words = _words(card)
    look, quality = _look(card, sizes, engine.qualities(card.name))
    fields: Fields = {
        "model": models,
        **how,
        **prompts,
        **build_image(card),
        **build_inpaint(card),
        **build_upscale(card, engine.upscalers()),
        **look,
    }
    plan = build_plan()
    units = build_units(engine.controls.cards(), engine.controls.preprocessors(), usable_models(engine), may_fetch=engine.may_fetch)
    references = build_references(engine)
    with gr.Accordion("LoRA styles", open=False, elem_classes="fold", elem_id="loras-fold"):
        rack = build_rack(engine.loras(), usable_models(engine), may_add=engine.may_add_loras, may_fetch=engine.may_fetch)
    guidance, beside = build_guidance(card)
    fields.update({**guidance, **build_more(), **_expert(card, engine)})
    _wire_negative(fields)
    wire_quality(quality, engine, fields, rack)
    with gr.Row(elem_id="go-row"):
        refusal = build_refusal({name: fold for name, one in fields.items() if (fold := _fold_of(one))})
        mark = build_seed()
        undo = gr.Button("↶", size="sm", elem_id="undo", min_width=36)
        redo = gr.Button("↷", size="sm", elem_id="redo", min_width=36)
        go = gr.Button("Generate", variant="primary", elem_id="go")
        # In sight while something runs: the style sheet shows and hides it.
        halt = gr.Button("Stop", variant="stop", elem_id="halt")
    folded = ("negative_prompt", "guidance_style", "score_guidance", "guidance_rescale", "guidance_start", "guidance_end", "sheet", "is_seed_kept", "seed", "variation_strength",
              "width", "height", "seamless", "clip_skip", "vae", "schedule", "scheduler", "feather", "padding", "is_soft", "overlap")  # fmt: skip
    wire_folds(build_folds(usable_models(engine)), rack, fields, folded)
    wire_seed(mark, fields["seed"], fields["is_seed_kept"])
    return Form(fields, source, rack, units, references, words, plan, go, halt, undo, redo, beside, refusal)


def _fold_of(component: Any) -> str | None:
    """The id of the fold that a component lies in; None where it is always in sight."""
    while component is not None and not isinstance(component, gr.Accordion):
        component = component.parent
    return None if component is None else component.elem_id


def _words(card: ModelCard) -> tuple[Fields, dict[str, gr.HTML]]:
    fields: Fields = {}
    words: dict[str, gr.HTML] = {}
    fields["prompt"] = gr.Textbox(
        label="Prompt", placeholder="A red mushroom in a forest by day", lines=3, max_lines=8, autofocus=True, elem_id="ctl-prompt"
    )
    words["prompt"] = build_words("prompt", card)
    with gr.Accordion("What you do not want", open=False, elem_classes="fold", elem_id="negative-fold"):
        fields["negative_prompt"] = gr.Textbox(
            label="Negative prompt", placeholder="blurry, low quality", lines=2, max_lines=4, elem_id="ctl-negative_prompt"
        )
        fields[_NOTE] = gr.HTML("", elem_classes="note", elem_id="negative-note")
        words["negative_prompt"] = build_words("negative_prompt", card)
    return fields, words


def _look(card: ModelCard, sizes: list[str], offered: tuple[Quality, ...]) -> tuple[Fields, gr.Radio]:
    fields: Fields = {}
    fields["size"] = gr.Radio(sizes, value=size_label(*card.default_size), label="Size", elem_id="ctl-size", elem_classes="chips not-edit")
    fields["count"] = gr.Radio([1, 2, 4, 8, 16], value=1, label="How many", elem_id="ctl-count", elem_classes="chips not-upscale")
    quality = build_quality(offered)
    fields["guidance_scale"] = guidance = gr.Slider(
        1, 15, value=card.default_guidance, step=0.5, label="Guidance", info=_guidance_info(card.default_guidance), elem_id="ctl-guidance_scale"
    )
    fields["steps"] = gr.Slider(
        1, STEPS_MAX, value=card.default_steps, step=1, label="Steps", info="More steps, more finish and more time", elem_id="ctl-steps"
    )
    guidance.change(None, guidance, guidance, js=_GUIDANCE_JS, show_progress="hidden", api_visibility="private")
    return fields, quality


def _expert(card: ModelCard, engine: Engine) -> Fields:
    fields: Fields = {}
    with gr.Accordion("Expert", open=False, elem_classes="fold", elem_id="expert-fold"):
        sampling = build_sampling(card)
        fields["scheduler"], fields["schedule"] = sampling.scheduler, sampling.schedule
        with gr.Row(elem_classes="seed-row"):
            fields["seed"] = seed = gr.Textbox(label="Seed", placeholder="a new one each time", max_lines=1, elem_id="ctl-seed", min_width=120)
            dice = gr.Button("New seed", size="sm", elem_id="dice", min_width=90)
        fields["is_seed_kept"] = kept = gr.Checkbox(label="Keep this seed for the next picture", value=False, elem_id="ctl-is_seed_kept")
        with gr.Column(elem_classes="group not-upscale"):
            fields["variation_strength"] = gr.Slider(
                0,
                1,
                value=0,
                step=0.05,
                label="Variation",
                info="Turns a kept seed a little: close relatives of one picture",
                elem_id="ctl-variation_strength",
            )
            fields["variation_seed"] = gr.Textbox(
                label="Variation seed", placeholder="a new one each time", max_lines=1, elem_id="ctl-variation_seed"
            )
        with gr.Column(elem_classes="group not-inpaint not-upscale"):
            ways = [("No", ""), ("Sideways", "x"), ("Up and down", "y"), ("Both", "xy")]
            fields["seamless"] = gr.Radio(ways, value="", label="Seamless texture", elem_id="ctl-seamless", elem_classes="chips")
        fields["clip_skip"] = gr.Dropdown(value="", label="Clip skip", elem_id="ctl-clip_skip", **clip_state(card))
        # A picture may name one that is gone; what is asked for then says so.
        fields["vae"] = gr.Dropdown(vae_choices(engine), value="", label="VAE", elem_id="ctl-vae", allow_custom_value=True, **vae_state(card))  # type: ignore[arg-type]
        with gr.Row():
            fields["width"] = gr.Textbox(label="Own width", placeholder="from the size", max_lines=1, elem_id="ctl-width", min_width=100)
            fields["height"] = gr.Textbox(label="Own height", placeholder="from the size", max_lines=1, elem_id="ctl-height", min_width=100)
    dice.click(None, None, [seed, kept], js="() => [String(Math.floor(Math.random() * 4294967296)), true]", api_visibility="private")
    return fields


def _wire_negative(fields: Fields) -> None:
    """Where the model would not hear the negative prompt, its field gives way to the reason."""
    scale, style, negative, note = (fields[name] for name in ("guidance_scale", "guidance_style", "negative_prompt", _NOTE))
    del fields[_NOTE]

    def show(scale: Any, style: Any) -> tuple[Any, Any]:
        reason = explain_negative(scale, style)
        return reason, gr.update(visible=not reason)

    changes = [one.change for one in (scale, style)]  # type: ignore[attr-defined]
    gr.on(changes, show, [scale, style], [note, negative], queue=False, show_progress="hidden", api_visibility="private")


def _guidance_info(scale: float) -> str:
    return f"How closely to follow the words: {guidance_word(scale)}"


def fits(name: str, value: Any, sizes: list[str]) -> bool:
    """Whether a value from the browser's own store may be put into the control `name`."""
    match name:
        case "size":
            return value in sizes
        case "is_seed_kept" | "is_soft":
            return isinstance(value, bool)
        case "count":
            return value in (1, 2, 4, 8, 16)
        case "scheduler":
            return value in SCHEDULER_LABELS
        case "pictures":
            return isinstance(value, list) and all(isinstance(one, dict) and isinstance(one.get("url"), str) for one in value)
        case _ if name in _CHOICES:
            return isinstance(value, str) and value in _CHOICES[name]
        case "vary_x" | "vary_y" | "upscaler":
            return isinstance(value, str)
        case _ if name in _NUMBERS:
            return isinstance(value, (int, float))
        case _ if name.endswith("strength"):
            return isinstance(value, (int, float))
        case _:
            return isinstance(value, str) and len(value) <= 20_000


_NUMBERS = (
    "perturbed_scale", "guidance_rescale", "guidance_start", "guidance_end", "score_scale", "guidance_scale", "steps", "padding", "feather", "overlap",
    "variation_strength",
)  # fmt: skip
_CHOICES = {
    "how": ("repaint", "edit"), "fit": ("crop", "pad", "stretch"), "region": ("masked", "whole"), "fill": ("original", "blur", "neighbours", "noise"),
    "guidance_style": tuple(GUIDANCE_FACTS), "score_guidance": ("", *SCORE_LABELS), "schedule": ("", *SCHEDULE_LABELS), "factor": ("2", "4"),
    "seamless": ("", "x", "y", "xy"), "clip_skip": ("", *map(str, range(1, CLIP_SKIP_MAX + 1))), "sheet": ("", "grid", "dataset"),
}  # fmt: skip

# The word beside the slider follows the thumb without asking the server.
_GUIDANCE_JS = """(scale) => {
  const word = scale <= 2.5 ? "loose" : scale <= 7 ? "balanced" : "literal";
  const info = [...document.querySelectorAll("#ctl-guidance_scale *")].find((e) => !e.children.length && e.textContent.startsWith("How closely"));
  if (info) info.textContent = "How closely to follow the words: " + word;
  return scale;
}"""
