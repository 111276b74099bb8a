"""The recipe: a request with every open choice resolved. It is what runs, what is saved and what reproduces a picture."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.contract.adapters import LoraUse, merge_uses, take_tags
from engine.contract.controls import ControlUse
from engine.contract.editing import plan_edit
from engine.contract.embeddings import named_embeddings
from engine.contract.errors import DamagedFile, InvalidRequest
from engine.contract.families import Feature, check_family
from engine.contract.guidance import (
    GUIDANCE_FACTS,
    PERTURBED_DEFAULT,
    SCORE_LABELS,
    GuidancePlan,
    GuidanceShare,
    GuidanceStyle,
    PerturbedScale,
    ScoreGuidance,
    ScoreScale,
    ScoreTarget,
    check_guidance,
    parse_target,
)
from engine.contract.memory import Packing
from engine.contract.models import ModelCard
from engine.contract.references import ReferenceUse
from engine.contract.requests import (
    PROMPT_MAX,
    REQUESTS,
    SEED_MAX,
    STEPS_MAX,
    ClipSkip,
    Count,
    Edge,
    Expand,
    Factor,
    Feather,
    Fill,
    Fit,
    Guidance,
    InputHash,
    Mode,
    Name,
    Overlap,
    Padding,
    Region,
    Request,
    Seamless,
    Seed,
    Share,
    Steps,
)
from engine.contract.schedulers import ScheduleName, SchedulerName, check_sampling, is_possible
from engine.contract.wildcards import fill_in, is_plain, parse_template
from engine.contract.words import check_words

RECIPE_VERSION = 1
Words = Annotated[str, Field(max_length=PROMPT_MAX)]
_NEEDED: dict[str, tuple[str, ...]] = {
    "txt2img": (),
    "img2img": ("source", "strength", "fit"),
    "edit": ("source",),
    "inpaint": ("source", "strength", "region", "padding", "feather", "is_soft", "fill"),
    "upscale": ("source", "strength", "factor", "upscaler", "overlap"),
}

# The lines of the wildcard list of a name, for a control.
ListsFor = Callable[[str, str], Sequence[str]]
# Adapters with the hashes of their files.
FindLoras = Callable[[tuple[LoraUse, ...]], tuple[LoraUse, ...]]
_WORDS = {"prompt": "prompts", "negative_prompt": "negative_prompts"}


class Recipe(BaseModel):
    """Complete and canonical. What a mode does not use is None and is left out of the canonical form.

    Picture k of `count` uses seed `seed + k` (modulo 2³²), or variation seed `variation_seed + k` where there is a
    variation, so it can be made alone. `width` × `height` is what the model draws at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = RECIPE_VERSION
    mode: Mode = "txt2img"
    model: str
    model_hash: str
    prompt: Words
    negative_prompt: Words
    steps: Steps
    guidance_scale: Guidance
    scheduler: SchedulerName
    width: Edge
    height: Edge
    seed: Seed
    count: Count
    variation_seed: Seed | None = None
    variation_strength: Share | None = None
    seamless: Seamless | None = None
    # None is the layer that the model was trained with.
    clip_skip: ClipSkip | None = None
    # A VAE in place of the model's own; "own" where the model is usually used with another.
    vae: Name | None = None
    vae_hash: str | None = None
    loras: tuple[LoraUse, ...] | None = None
    controls: tuple[ControlUse, ...] | None = None
    references: tuple[ReferenceUse, ...] | None = None
    # Those that were asked for beside the words, where the words of a batch bring their own.
    loras_beside: tuple[LoraUse, ...] | None = None
    schedule: ScheduleName | None = None
    # What was written, where wildcards were filled in; and the words of each picture of a batch, where they differ.
    prompt_template: Words | None = None
    negative_prompt_template: Words | None = None
    prompts: tuple[Words, ...] | None = None
    negative_prompts: tuple[Words, ...] | None = None
    # Embeddings that the words name, with the hashes of their files.
    embeddings: dict[str, str] | None = None
    # None is CFG; else the model takes the number as an input, or does not hear it: either way it runs once a step.
    guidance_kind: Literal["told", "none"] | None = None
    # None is plain CFG over all steps.
    guidance_style: GuidanceStyle | None = None
    guidance_rescale: GuidanceShare | None = None
    guidance_start: GuidanceShare | None = None
    guidance_end: GuidanceShare | None = None
    perturbed_scale: PerturbedScale | None = None
    score_guidance: ScoreGuidance | None = None
    score_scale: ScoreScale | None = None
    score_target: ScoreTarget | None = None
    source: InputHash | None = None
    # What an edit looks at beside its source.
    pictures: tuple[InputHash, ...] | None = None
    strength: Share | None = None
    fit: Fit | None = None
    mask: InputHash | None = None
    expand_left: Expand | None = None
    expand_top: Expand | None = None
    expand_right: Expand | None = None
    expand_bottom: Expand | None = None
    region: Region | None = None
    padding: Padding | None = None
    feather: Feather | None = None
    is_soft: bool | None = None
    fill: Fill | None = None
    factor: Factor | None = None
    upscaler: Name | None = None
    upscaler_hash: str | None = None
    overlap: Overlap | None = None
    # A picture that was stopped and kept: as the model foresaw it after so many of its calls.
    stopped_after_calls: Annotated[int, Field(ge=1, le=4 * STEPS_MAX)] | None = None
    # How the weights lay that drew a finished picture, None as trained. It asks for nothing: under which plan a job is drawn is its operator's.
    packing: Packing | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if any(getattr(self, name) is None for name in _NEEDED[self.mode]):
            raise ValueError(f"a recipe of {self.mode} needs {_NEEDED[self.mode]}")
        if not is_possible(self.scheduler, self.schedule, self.steps):
            raise ValueError("sampler, noise schedule and steps do not go together")
        if GUIDANCE_FACTS[self.guidance_style or "cfg"].needs_attention and self.perturbed_scale is None:
            raise ValueError("a style that perturbs needs its scale")
        if self.score_guidance is not None and self.score_scale is None:
            raise ValueError("score guidance needs its scale")
        if any(words is not None and len(words) != self.count for words in (self.prompts, self.negative_prompts)):
            raise ValueError("a batch needs words for each picture")
        return self

    def canonical_json(self) -> str:
        """Sorted keys, no spaces, real letters, nothing unused: equal recipes give equal bytes."""
        return json.dumps(self.to_plain(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def to_plain(self) -> dict[str, object]:
        return self.model_dump(exclude_none=True)

    def digest(self) -> str:
        """SHA-256 of the canonical form, in hexadecimal."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    def for_picture(self, index: int) -> Recipe:
        """The recipe of one picture of the batch: count 1, its own seed and its own words."""
        varied = "seed" if self.variation_seed is None else "variation_seed"
        own: dict[str, object] = {varied: (getattr(self, varied) + index) % (SEED_MAX + 1), "count": 1, "loras_beside": None}
        for one, several in _WORDS.items():
            if (words := getattr(self, several)) is not None:
                own |= {one: words[index], several: None}
        made = self.model_copy(update=own)
        return made if self.embeddings is None else made.with_embeddings(self.embeddings)

    def texts(self) -> dict[str, tuple[str, ...]]:
        """Everything that its pictures say, by control."""
        return {one: getattr(self, several) or (getattr(self, one),) for one, several in _WORDS.items()}

    def with_embeddings(self, hashes: Mapping[str, str]) -> Recipe:
        """With those of the embeddings that the words name."""
        named = {name for control, texts in self.texts().items() for text in texts for name in named_embeddings(text, hashes, control)}
        return self.model_copy(update={"embeddings": {name: hashes[name] for name in sorted(named)} or None})

    def to_request(self) -> Request:
        """The request that makes this picture again on the same model; a batch with its own words for each asks for its template."""
        kind = REQUESTS[self.mode]
        values = self.to_plain()
        values |= {one: getattr(self, f"{one}_template") for one, several in _WORDS.items() if getattr(self, several) is not None}
        if self.prompts is not None and self.loras_beside is not None:
            # The template asks for the others again.
            values["loras"] = self.loras_beside
        return kind.model_validate({name: value for name, value in values.items() if name in kind.model_fields})

    @property
    def inputs(self) -> tuple[str, ...]:
        """Hashes of the pictures that drawing this recipe needs."""
        maps = (use.map for use in self.controls or () if not use.is_idle)
        references = (use.image for use in self.references or ())
        return tuple(one for one in (self.source, *(self.pictures or ()), self.mask, *maps, *references) if one is not None)

    @property
    def features(self) -> frozenset[Feature]:
        """What it asks a family to take part in. Words that would be weighed are no reason to refuse: those are read without."""
        asked: dict[Feature, object] = {
            "loras": self.loras, "embeddings": self.embeddings, "controls": self.controls, "references": self.references,
            "seamless": self.seamless, "score_guidance": self.score_guidance, "clip_skip": self.clip_skip, "vae": self.vae_hash,
        }  # fmt: skip
        return frozenset(feature for feature, value in asked.items() if value)

    @property
    def steps_run(self) -> int:
        """Steps that are really walked: a source picture shortens the schedule (at least one step, unless there is none)."""
        if self.strength is None:
            return self.steps
        return max(1, min(int(self.steps * self.strength), self.steps)) if self.strength > 0 else 0

    @property
    def guidance(self) -> GuidancePlan:
        """How each walk of this recipe is guided."""
        return GuidancePlan(
            scale=self.guidance_scale if self.guidance_kind is None else 1.0,
            style=self.guidance_style or "cfg",
            rescale=self.guidance_rescale or 0.0,
            start=self.guidance_start or 0.0,
            end=1.0 if self.guidance_end is None else self.guidance_end,
            perturbed_scale=self.perturbed_scale or 0.0,
            steps=self.steps_run or None,
        )

    @property
    def expand(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom growth of the frame in pixels."""
        return (self.expand_left or 0, self.expand_top or 0, self.expand_right or 0, self.expand_bottom or 0)

    @staticmethod
    def from_json(text: str) -> Recipe:
        """Raises `DamagedFile` when the text is no recipe of a version we know."""
        try:
            return Recipe.model_validate_json(text)
        except ValidationError as error:
            raise DamagedFile("The recipe in this file cannot be read.", "It was altered, or made by a newer Easel.") from error


def no_lists(name: str, control: str) -> Sequence[str]:
    raise InvalidRequest(f"There is no wildcard list named {name} here.", "Write words in its place.", control)


def resolve(
    request: Request,
    model: ModelCard,
    *,
    upscaler: tuple[str, str] | None = None,
    vae: tuple[str, str | None] | None = None,
    find_loras: FindLoras = tuple,
    controls: tuple[ControlUse, ...] = (),
    references: tuple[ReferenceUse, ...] = (),
    sizes: Sequence[tuple[int, int]] = (),
    lists: ListsFor = no_lists,
) -> Recipe:
    """Fill in what the request left open: the model's defaults, words left to chance and, without a seed, a random one.

    `upscaler` is the name and content hash of the upscaler that will run, for the mode that has one, `vae` those of a VAE
    in place of the model's own. `find_loras` gives
    adapters the hashes of their files, `controls` are the units with their maps, `references` have the hashes of their
    adapters, `sizes` are those of the pictures of an edit, `lists` gives the lines of a wildcard list by its name and the control that asks. Raises `InvalidRequest`
    about the words and about what the model cannot do, and what `find_loras` raises.
    """
    width, height = plan_edit(model, sizes) if request.mode == "edit" else model.default_size
    chosen = {name: value for name, value in request.model_dump().items() if value is not None}
    open_choices: dict[str, Any] = {
        "width": width, "height": height, "steps": model.default_steps, "guidance_scale": model.default_guidance,
        "scheduler": model.default_scheduler, "seed": secrets.randbelow(SEED_MAX + 1),
    }  # fmt: skip
    if not request.variation_strength:
        chosen.pop("variation_seed", None)
        chosen.pop("variation_strength")
    else:
        open_choices["variation_seed"] = secrets.randbelow(SEED_MAX + 1)
    fixed: dict[str, object] = {"model": model.name, "model_hash": model.content_hash}
    chosen.pop("loras")
    chosen.pop("controls")
    if controls:
        fixed["controls"] = controls
    chosen.pop("references")
    if not chosen.get("pictures"):
        chosen.pop("pictures", None)
    if references:
        fixed["references"] = references
    if upscaler is not None:
        fixed["upscaler"], fixed["upscaler_hash"] = upscaler
    if vae is not None:
        fixed["vae"], fixed["vae_hash"] = vae
    values: dict[str, Any] = {**open_choices, **chosen, **fixed}
    check_sampling(values["scheduler"], values.get("schedule"), values["steps"])
    said, tags = _words(request, values["seed"], lists)
    if loras := find_loras(merge_uses(request.loras, tags)):
        said["loras"] = loras
    if tags and "prompts" in said:
        said["loras_beside"] = find_loras(merge_uses(request.loras))
    recipe = Recipe.model_validate(values | said | _guidance(request) | {"guidance_kind": None if model.guidance == "cfg" else model.guidance})
    check_guidance(recipe.guidance, family=model.family, title=model.title)
    check_family(model.family, model.title, scheduler=recipe.scheduler, size=(recipe.width, recipe.height), uses=recipe.features)
    if recipe.clip_skip is not None and recipe.clip_skip > (model.clip_layers or recipe.clip_skip):
        message = f"The text encoder of {model.title} has {model.clip_layers} layers."
        raise InvalidRequest(message, f"Choose a clip skip of at most {model.clip_layers}, or leave it open.", "clip_skip")
    if recipe.score_guidance is not None and not model.has_scorer:
        label = SCORE_LABELS[recipe.score_guidance]
        raise InvalidRequest(
            f"{label} is not available: {model.title} brings no scorer.", "Turn it off, or choose a model with one.", "score_guidance"
        )
    return recipe


def _guidance(request: Request) -> dict[str, object]:
    """What differs from plain CFG over all steps; a scale that nothing takes is left out."""
    plain = {"guidance_style": "cfg", "guidance_rescale": 0.0, "guidance_start": 0.0, "guidance_end": 1.0}
    values: dict[str, object] = {name: value if (value := getattr(request, name)) != usual else None for name, usual in plain.items()}
    values["perturbed_scale"] = None
    if GUIDANCE_FACTS[request.guidance_style].needs_attention:
        values["perturbed_scale"] = PERTURBED_DEFAULT if request.perturbed_scale is None else request.perturbed_scale
    values |= {"score_guidance": None, "score_scale": None, "score_target": None}
    if request.score_guidance is not None and request.score_scale > 0:
        parse_target(request.score_guidance, request.score_target)
        values |= {"score_guidance": request.score_guidance, "score_scale": request.score_scale, "score_target": request.score_target.strip() or None}
    return values


def _words(request: Request, seed: int, lists: ListsFor) -> tuple[dict[str, object], tuple[LoraUse, ...]]:
    """What every picture of the request says, and the LoRAs that the words ask for. Those of a variation share their words with their seed."""
    seeds = [seed if request.variation_strength else (seed + k) % (SEED_MAX + 1) for k in range(request.count)]
    said: dict[str, object] = {}
    tags: tuple[LoraUse, ...] = ()
    for one, several in _WORDS.items():
        text: str = getattr(request, one)
        words: tuple[str, ...] = (text,)
        template = parse_template(text, one)
        if not is_plain(template):
            words = tuple(fill_in(template, seed=own, lists=lambda name, one=one: lists(name, one), control=one) for own in seeds)
            said[f"{one}_template"] = text
            if one == "prompt" and request.needs_words() and not all(word.strip() for word in words):
                raise InvalidRequest("The prompt is empty with its wildcards filled in.", "Write a word that is always there.", one)
        if one == "prompt":
            words, tags = _without_tags(words)
        said[one] = words[0]
        if len(set(words)) > 1:
            said[several] = words
        for word in words:
            check_words(word, one)
    return said, tags


def _without_tags(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[LoraUse, ...]]:
    """The words of each picture without their LoRA tags, which all pictures must share: a batch has one set of adapters."""
    read = [take_tags(word) for word in words]
    wanted = [sorted((use.name, use.weight) for use in merge_uses(tags)) for _, tags in read]
    if any(one != wanted[0] for one in wanted):
        message = "The wildcards choose different LoRAs for the pictures of one batch."
        raise InvalidRequest(message, "Draw one picture at a time, or name the LoRA outside of the wildcards.", "prompt")
    return tuple(text for text, _ in read), read[0][1]
