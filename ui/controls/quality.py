"""Draft, standard or fine: one choice that sets steps, guidance, sampler and LoRA together, and says which they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from engine import Quality
from ui.filling import BEGINS, ends

_INFO = "Sets steps, guidance and sampler together"
_HIDDEN: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def build_quality(choices: tuple[Quality, ...]) -> gr.Radio:
    return gr.Radio(
        [(one.label, one.name) for one in choices], value="standard", label="Quality", info=_INFO, elem_id="ctl-quality", elem_classes="chips"
    )


def wire_quality(quality: gr.Radio, offer: Callable[[Any], tuple[Quality, ...]], fields: Mapping[str, Any], rack: gr.HTML) -> None:
    """A choice sets the controls; controls that are moved say which choice they are, or none. `offer` has the choices of a model."""
    model = fields["model"]
    parts = [fields[name] for name in ("steps", "guidance_scale", "scheduler")]

    def choose(model: Any, name: Any, used: Any) -> tuple[Any, ...]:
        choices = offer(model)
        helpers = {one.lora for one in choices if one.lora}
        chosen = next((one for one in choices if one.name == name), None)
        if chosen is None:
            return tuple(gr.skip() for _ in range(5))
        loras = [one for one in _cards(used) if one.get("name") not in helpers]
        if chosen.lora:
            loras.append({"name": chosen.lora, "weight": 1, "is_muted": False})
        return chosen.steps, chosen.guidance_scale, chosen.scheduler, "", loras

    def recognise(model: Any, steps: Any, guidance: Any, scheduler: Any, used: Any) -> Any:
        choices = offer(model)
        helpers = {one.lora for one in choices if one.lora}
        on = {one.get("name") for one in _cards(used) if not one.get("is_muted")} & helpers
        found = [
            one for one in choices
            if (one.steps, one.guidance_scale, one.scheduler) == (steps, guidance, scheduler) and on == ({one.lora} if one.lora else set[str]())
        ]  # fmt: skip
        return gr.update(value=found[0].name if found else None, info=f"{found[0].label}: {found[0].note}" if found else _INFO)

    parts_and_rack = [*parts, fields["schedule"], rack]
    # The last choice counts where one is still being answered.
    ends(quality.input(choose, [model, quality, rack], parts_and_rack, js=BEGINS, trigger_mode="always_last", **_HIDDEN))  # type: ignore[attr-defined]
    gr.on([one.change for one in (model, *parts, rack)], recognise, [model, *parts, rack], quality, trigger_mode="always_last", **_HIDDEN)


def _cards(used: Any) -> list[Mapping[str, Any]]:
    return [one for one in used if isinstance(one, Mapping)] if isinstance(used, list) else []
