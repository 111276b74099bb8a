"""How the picture is held to its words: styles of guidance, when they act, and two labelled experiments."""

from __future__ import annotations

from typing import Any

import gradio as gr

from engine import (
    GUIDANCE_FACTS,
    GUIDANCE_LABELS,
    GUIDANCE_NOTES,
    PERTURBED_DEFAULT,
    PERTURBED_MAX,
    SCORE_DEFAULT,
    SCORE_LABELS,
    SCORE_MAX,
    SCORE_NOTES,
    GuidanceStyle,
    ModelCard,
    negative_prompt_reason,
    styles_of,
)
from ui.controls.model import score_state

Fields = dict[str, gr.components.Component]
_PERTURBED = [name for name, facts in GUIDANCE_FACTS.items() if facts.needs_attention]


def build_guidance(card: ModelCard) -> tuple[Fields, gr.Button]:
    """The menu of styles with what each looks like, its window, and the experiments; and the button that draws styles side by side."""
    fields: Fields = {}
    offered = styles_of(card.family)
    with gr.Accordion("Guidance style", open=False, elem_classes="fold", elem_id="guidance-fold"):
        choices = [(GUIDANCE_LABELS[name], name) for name in offered]
        fields["guidance_style"] = style = gr.Dropdown(
            choices,  # type: ignore[arg-type]
            value="cfg",
            label="Style",
            info=_note("cfg"),
            elem_id="ctl-guidance_style",
        )
        beside = gr.Button(_beside("cfg"), size="sm", elem_id="beside", elem_classes="not-upscale")
        fields["perturbed_scale"] = perturbed = gr.Slider(
            0, PERTURBED_MAX, value=PERTURBED_DEFAULT, step=0.5, label="Perturbation", info="How hard it pushes away from the disturbed picture",
            elem_id="ctl-perturbed_scale", visible=False,
        )  # fmt: skip
        fields["guidance_rescale"] = gr.Slider(
            0, 1, value=0, step=0.05, label="Rescale", info="Takes back contrast that high guidance adds", elem_id="ctl-guidance_rescale"
        )
        with gr.Row():
            for end, label, value in (("start", "Acts from", 0), ("end", "Acts until", 1)):
                fields[f"guidance_{end}"] = gr.Slider(
                    0, 1, value=value, step=0.05, label=label, info="Share of the steps", elem_id=f"ctl-guidance_{end}", min_width=130
                )
        kinds = [("Off", ""), *((label, name) for name, label in SCORE_LABELS.items())]
        fields["score_guidance"] = score = gr.Radio(
            kinds, value="", label="Experiment: a second model has its say", **score_state(card),
            elem_id="ctl-score_guidance", elem_classes="chips",
        )  # fmt: skip
        with gr.Column(visible=False, elem_classes="group") as more:
            note = gr.HTML("", elem_classes="note", elem_id="score-note")
            fields["score_scale"] = gr.Slider(0, SCORE_MAX, value=SCORE_DEFAULT, step=10, label="How strongly", elem_id="ctl-score_scale")
            fields["score_target"] = gr.Textbox(label="Towards", max_lines=2, elem_id="ctl-score_target")

    def show_style(chosen: Any) -> tuple[Any, Any, Any]:
        return gr.update(info=_note(chosen) if chosen in offered else ""), gr.update(visible=chosen in _PERTURBED), gr.update(value=_beside(chosen))

    def show_score(kind: Any) -> tuple[Any, Any, Any]:
        hint = "castle | tower, ship, tree" if kind == "classifier" else "the prompt, unless you write something else"
        words = f"<p>{_sentence(SCORE_NOTES[kind])}</p>" if kind in SCORE_NOTES else ""
        return gr.update(visible=bool(words)), words, gr.update(placeholder=hint)

    hidden: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    style.change(show_style, style, [style, perturbed, beside], **hidden)  # type: ignore[attr-defined]
    score.change(show_score, score, [more, note, fields["score_target"]], **hidden)  # type: ignore[attr-defined]
    return fields, beside


def _beside(style: Any) -> str:
    """What the button beside the menu draws."""
    return f"Draw CFG and {GUIDANCE_LABELS[style]} on one seed" if style in GUIDANCE_LABELS and style != "cfg" else "Draw all styles on one seed"


def _note(style: GuidanceStyle) -> str:
    return _sentence(GUIDANCE_NOTES[style])


def _sentence(note: str) -> str:
    return note[:1].upper() + note[1:]


def explain_negative(scale: Any, style: Any) -> str:
    """Why the negative prompt would not be heard, as a note; nothing where it is."""
    reason = negative_prompt_reason(float(scale or 0), style if style in GUIDANCE_FACTS else "cfg")
    return f"<p>{reason}</p>" if reason else ""
