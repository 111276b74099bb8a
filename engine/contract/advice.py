"""What usually goes wrong with a sampler, said before it is tried. Advice only: whatever can run is run as it was asked for."""

from __future__ import annotations

from engine.contract.models import ModelCard
from engine.contract.schedulers import SCHEDULER_FACTS, ScheduleName, SchedulerName

STEPS_MANY = 100
# A model whose own steps are this few was distilled: more are no mistake there, and slow samplers are none either.
_FEW = 10
_GUIDANCE_FEW = 2.0
# Steps from which a sampler's picture counts as finished on an ordinary model: rules of thumb of the field, not measured here.
_FINISHED: dict[SchedulerName, int] = {
    "dpmpp_2m": 12, "euler": 16, "ddim": 16, "unipc": 8, "heun": 10, "dpmpp_2s": 12, "deis": 10, "lms": 24, "pndm": 16, "kdpm2": 10,
    "euler_a": 16, "dpmpp_2m_sde": 14, "kdpm2_a": 12, "sa_solver": 12, "ddpm": 50, "flow_euler": 16, "flow_dpmpp_2m": 12, "flow_unipc": 8,
}  # fmt: skip
_SUGGESTED = "UniPC or DEIS"


def advise(
    model: ModelCard, scheduler: SchedulerName, schedule: ScheduleName | None, steps: int, guidance: float, *, has_helper: bool = False
) -> tuple[str, ...]:
    """Sentences about known pitfalls, the gravest first; none where all is well. `has_helper`: a few-step LoRA is on."""
    facts = SCHEDULER_FACTS[scheduler]
    is_distilled = has_helper or model.default_steps <= _FEW
    said: list[str] = []
    if facts.group == "few_steps":
        if guidance > _GUIDANCE_FEW:
            said.append(f"Guidance {guidance:g} burns colours with {facts.label}: 1 to {_GUIDANCE_FEW:g} is what it is made for.")
        if not is_distilled:
            said.append(f"{facts.label} needs a model or a LoRA that was made for it; without one, pictures stay rough.")
        if steps > _FEW:
            said.append(f"{steps} steps gain nothing with {facts.label}: 4 to 8 are what it is made for.")
    elif is_distilled:
        if guidance > max(_GUIDANCE_FEW, model.default_guidance):
            said.append(f"Guidance {guidance:g} burns colours on {model.title}, which was made for {model.default_guidance:g}.")
    elif steps < _FINISHED[scheduler]:
        instead = f"; {_SUGGESTED} need fewer" if scheduler not in ("unipc", "deis") and facts.group != "flow" else ""
        said.append(
            f"{steps} {'step is' if steps == 1 else 'steps are'} few for {facts.label}: it is finished from about {_FINISHED[scheduler]}{instead}."
        )
    if steps > STEPS_MANY and scheduler != "ddpm":
        gain = "nobody sees the difference" if facts.group != "explores" else "it only draws another picture"
        said.append(f"Over {STEPS_MANY} steps {gain}, and each one takes its time.")
    if schedule == "karras" and steps < _FEW and facts.group == "settles" and not is_distilled:
        said.append("With so few steps the Karras schedule leaves little for the composition; try SGM uniform.")
    return tuple(said)
