"""How a picture is held to its words: the styles of guidance, what each looks like, what it costs, and what goes together.

The arithmetic lives in `engine/diffusion/guidance.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field

from engine.contract.errors import InvalidRequest

# "cfg": a second run of the model without the words. "told": the number is an input of the model, which was distilled with
# it. "none": the model was distilled to one value and hears neither the number nor a negative prompt.
GuidanceKind = Literal["cfg", "told", "none"]
GuidanceStyle = Literal["cfg", "cfg_zero_star", "apg", "tangential", "pag", "seg"]
ScoreGuidance = Literal["clip", "classifier"]

PERTURBED_MAX = 15.0
PERTURBED_DEFAULT = 3.0
SCORE_MAX = 1_000.0
SCORE_DEFAULT = 100.0
TARGET_MAX = 1_000
# Model calls that one look of the scorer weighs: decoding, scoring and both ways back (tests/bench, the starter on a CPU).
SCORE_CALLS = 4.0

# Families whose denoiser is a UNet with attention: all styles run there.
_UNETS = ("sd1", "sdxl")
# Families that run twice, with the words and without. The others were distilled to one run.
_TWICE = (*_UNETS, "sd3", "flux2", "zimage", "qwen")
_ALL = (*_TWICE, "flux1")


@dataclass(frozen=True)
class GuidanceFacts:
    """A row of the menu. `calls` are runs of the model a step where the negative prompt is heard, one less where it is not.

    `needs_attention`: the style looks at a second prediction with some self-attention disturbed, and has a scale for it.
    """

    label: str
    note: str
    calls: int = 2
    needs_attention: bool = False
    families: tuple[str, ...] = _TWICE


GUIDANCE_FACTS: dict[GuidanceStyle, GuidanceFacts] = {
    "cfg": GuidanceFacts("CFG", "towards the words, away from the negative prompt; the usual way", families=_ALL),
    "cfg_zero_star": GuidanceFacts("CFG-Zero*", "like CFG with a negative side that is fitted first: nearly the same picture, a little bolder"),
    "apg": GuidanceFacts("APG", "high guidance without burnt colours: try 9 and more"),
    "tangential": GuidanceFacts("Tangential CFG", "only the main direction of the negative side: smoother surfaces"),
    "pag": GuidanceFacts("PAG", "firmer shapes, also without a negative prompt; half as long again", calls=3, needs_attention=True, families=_UNETS),
    "seg": GuidanceFacts("SEG", "like PAG by blurred attention; as long as PAG", calls=3, needs_attention=True, families=_UNETS),
}
GUIDANCE_LABELS: dict[GuidanceStyle, str] = {name: facts.label for name, facts in GUIDANCE_FACTS.items()}
GUIDANCE_NOTES: dict[GuidanceStyle, str] = {name: facts.note for name, facts in GUIDANCE_FACTS.items()}
SCORE_LABELS: dict[ScoreGuidance, str] = {"clip": "CLIP guidance", "classifier": "Classifier guidance"}
SCORE_NOTES: dict[ScoreGuidance, str] = {
    "clip": "experiment: each step is drawn towards what a second model thinks fits the words; several times slower",
    "classifier": "experiment: each step is drawn towards one label and away from others; several times slower",
}
GUIDANCE_CONTROLS = {
    "guidance_style": "Guidance style",
    "guidance_rescale": "Guidance rescale",
    "guidance_start": "Guidance start",
    "guidance_end": "Guidance end",
    "perturbed_scale": "Perturbation",
    "score_guidance": "Score guidance",
    "score_scale": "Score scale",
    "score_target": "Score target",
}
_SHARE_HINT = "Choose a number from 0 to 1."
GUIDANCE_HINTS = {
    "guidance_style": f"Choose one of {', '.join(GUIDANCE_LABELS.values())}.",
    "guidance_rescale": _SHARE_HINT,
    "guidance_start": _SHARE_HINT,
    "guidance_end": _SHARE_HINT,
    "perturbed_scale": f"Choose a number from 0 to {PERTURBED_MAX:g}.",
    "score_guidance": "Choose clip or classifier, or leave it open.",
    "score_scale": f"Choose a number from 0 to {SCORE_MAX:g}.",
    "score_target": f"Write words, up to {TARGET_MAX:,} characters, or leave it empty.",
}
# Other programs' names for the same.
_STYLE_ALIASES: dict[str, GuidanceStyle] = {
    "cfg zero star": "cfg_zero_star", "cfg-zero": "cfg_zero_star", "cfg zero*": "cfg_zero_star", "tcfg": "tangential",
}  # fmt: skip


def guidance_key(name: str) -> GuidanceStyle | None:
    """The key for a key, a label or another program's name in any case; None if there is none."""
    wanted = name.strip().lower()
    for key in get_args(GuidanceStyle):
        if wanted in (key, GUIDANCE_LABELS[key].lower()):
            return key
    return _STYLE_ALIASES.get(wanted)


def _by_key_or_label(name: object) -> object:
    return guidance_key(name) or name if isinstance(name, str) else name


def _score_by_key_or_label(name: object) -> object:
    if not isinstance(name, str):
        return name
    wanted = name.strip().lower()
    return next((key for key, label in SCORE_LABELS.items() if wanted in (key, label.lower())), name)


def _no_truth_value(value: object) -> object:
    # Python counts True as 1; a checkbox wired to a number field is a mistake, not a one.
    if isinstance(value, bool):
        raise ValueError("not a number")
    return value


_NUMBER = BeforeValidator(_no_truth_value)
StyleField = Annotated[GuidanceStyle, BeforeValidator(_by_key_or_label)]
ScoreField = Annotated[ScoreGuidance, BeforeValidator(_score_by_key_or_label)]
GuidanceShare = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), _NUMBER]
PerturbedScale = Annotated[float, Field(ge=0, le=PERTURBED_MAX, allow_inf_nan=False), _NUMBER]
ScoreScale = Annotated[float, Field(ge=0, le=SCORE_MAX, allow_inf_nan=False), _NUMBER]
ScoreTarget = Annotated[str, Field(max_length=TARGET_MAX)]


@dataclass(frozen=True)
class GuidancePlan:
    """How one walk is guided. `start` and `end` are shares of its `steps`; where these are None, of its model calls."""

    scale: float
    style: GuidanceStyle = "cfg"
    rescale: float = 0.0
    start: float = 0.0
    end: float = 1.0
    perturbed_scale: float = 0.0
    steps: int | None = None

    @property
    def uses_negative(self) -> bool:
        return is_guided(self.scale)

    @property
    def is_perturbed(self) -> bool:
        return GUIDANCE_FACTS[self.style].needs_attention and self.perturbed_scale > 0

    def is_active(self, index: int, calls: int) -> bool:
        """Whether model call `index` of `calls` lies in the window; outside it the words alone decide.

        A step is inside from `int(start · steps)` up to, not with, `int(end · steps)`, as in diffusers' guiders. Both
        calls of a second-order step are inside, or neither.
        """
        steps = self.steps or calls
        return int(self.start * steps) <= index * steps // calls < int(self.end * steps)

    def count_passes(self, calls: int, score_calls: float = 0.0) -> float:
        """Runs of the model over a walk of `calls` calls; a look of the scorer weighs `score_calls` of them."""
        inside = sum(self.is_active(index, calls) for index in range(calls))
        return calls + inside * (self.uses_negative + self.is_perturbed + score_calls)


def is_guided(guidance_scale: float) -> bool:
    """At 1 and below the negative half cancels out and is not computed."""
    return guidance_scale > 1.0


def styles_of(family: str) -> tuple[GuidanceStyle, ...]:
    """The styles that run on models of a family."""
    return tuple(name for name, facts in GUIDANCE_FACTS.items() if family in facts.families)


def negative_prompt_reason(guidance_scale: float, style: GuidanceStyle = "cfg") -> str | None:
    """Why the negative prompt would not be heard, in a sentence for the page; None where it is."""
    if is_guided(guidance_scale):
        return None
    if GUIDANCE_FACTS[style].needs_attention:
        return f"Guidance is {guidance_scale:g}: {GUIDANCE_LABELS[style]} works without a negative prompt. Raise it above 1 to use both."
    return f"Guidance is {guidance_scale:g}: the model hears only the prompt. Raise it above 1 to use a negative prompt."


def parse_target(kind: ScoreGuidance, text: str) -> tuple[str, tuple[str, ...]]:
    """What the score is for, and the labels that it is told from: "castle | tower, ship" gives ("castle", ("tower", "ship")).

    CLIP guidance takes words as they are, and the prompt where there are none. Raises `InvalidRequest` about "score_target".
    """
    if kind == "clip":
        return text.strip(), ()
    wanted, _, others = text.partition("|")
    rivals = tuple(dict.fromkeys(part.strip() for part in others.split(",") if part.strip()))
    if not wanted.strip() or not rivals:
        message = "Classifier guidance needs a label and others to tell it from."
        raise InvalidRequest(message, "Write them like this: castle | tower, ship, tree.", "score_target")
    if wanted.strip() in rivals:
        raise InvalidRequest(f"The label {wanted.strip()!r} stands on both sides.", "Name other labels behind the line.", "score_target")
    return wanted.strip(), rivals


def check_guidance(plan: GuidancePlan, *, family: str | None = None, title: str = "this model") -> None:
    """Raises `InvalidRequest` where style, window, steps and family do not go together."""
    facts = GUIDANCE_FACTS[plan.style]
    if family is not None and family not in facts.families:
        known = ", ".join(GUIDANCE_LABELS[name] for name in styles_of(family)) or "none"
        raise InvalidRequest(f"{facts.label} does not run on {title}.", f"Guidance styles that do: {known}.", "guidance_style")
    if plan.start >= plan.end:
        message = f"Guidance starts at {plan.start:g} of the steps and ends at {plan.end:g}."
        raise InvalidRequest(message, "Let it start before it ends.", "guidance_start")
    steps = plan.steps or 0
    if steps and int(plan.start * steps) >= int(plan.end * steps):
        message = f"Guidance from {plan.start:g} to {plan.end:g} holds none of the {steps} steps."
        raise InvalidRequest(message, "Widen the window, or choose more steps.", "guidance_start")
