"""Draft, standard, fine: steps, guidance, sampler and a few-step LoRA set together, so that nobody has to know which goes with which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.contract.adapters import LoraCard
from engine.contract.models import ModelCard
from engine.contract.schedulers import SCHEDULER_LABELS, SchedulerName

QualityName = Literal["draft", "standard", "fine"]
# What the few-step LoRA was measured to need; engine/starter/evaluate_fewsteps.py has the figures.
_FEW_STEPS = 4


@dataclass(frozen=True)
class Quality:
    """One choice; `lora` is the name of the few-step LoRA that it needs, None for the model as it is."""

    name: QualityName
    label: str
    steps: int
    guidance_scale: float
    scheduler: SchedulerName
    lora: str | None = None

    @property
    def note(self) -> str:
        """What it sets, in words."""
        helper = " and the few-step LoRA" if self.lora else ""
        return f"{self.steps} steps, guidance {self.guidance_scale:g}, {SCHEDULER_LABELS[self.scheduler]}{helper}"


def qualities(model: ModelCard, loras: Sequence[LoraCard]) -> tuple[Quality, ...]:
    """What a model offers. Without a few-step LoRA that fits it, a draft is the usual walk in fewer steps."""
    usual = (model.default_guidance, model.default_scheduler)
    helper = next((card for card in loras if card.is_few_steps and card.refusal is None and card.width in (None, model.text_width)), None)
    if helper is None:
        draft = Quality("draft", "Draft", max(4, model.default_steps * 2 // 5), *usual)
    else:
        # At guidance 1 the model runs once a step: what the LoRA learned already has its guidance in it.
        draft = Quality("draft", "Draft", _FEW_STEPS, 1.0, "lcm", helper.name)
    return draft, Quality("standard", "Standard", model.default_steps, *usual), Quality("fine", "Fine", model.default_steps * 2, *usual)
