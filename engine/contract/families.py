"""The families of latent diffusion models: what the page, the resolver and the shelves may know of each without loading anything.

The code of a family lives in `engine/diffusion/families`, in a file of the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.contract.errors import InvalidRequest
from engine.contract.flow import FlowPlan, even_plan, measured_plan, own_plan
from engine.contract.guidance import GuidanceKind
from engine.contract.schedulers import SCHEDULER_LABELS, SchedulerName, samplers_for

# What a family may or may not take part in; each has a control on the page.
Feature = Literal["loras", "embeddings", "controls", "references", "seamless", "score_guidance", "weights", "clip_skip", "vae"]
Size = tuple[int, int]

_SD1_SIZES: tuple[Size, ...] = ((512, 512), (768, 512), (512, 768))
_SDXL_SIZES: tuple[Size, ...] = ((1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344))
_MEGAPIXEL: tuple[Size, ...] = ((1024, 1024), (1152, 896), (896, 1152), (1344, 768), (768, 1344))
_QWEN_SIZES: tuple[Size, ...] = ((1328, 1328), (1664, 928), (928, 1664), (1472, 1104), (1104, 1472))


@dataclass(frozen=True)
class FamilyFacts:
    """A row of the table. `pipelines` are the class names by which `model_index.json` says that a folder is of it.

    `multiple` is what width and height must be whole multiples of, in pixels; a flow's denoiser sees a square of that edge as
    one token. `flow` is how a flow lays out its steps, None for the other families. `lacks` says of each feature that does not
    work why, in half a sentence that goes behind the model's name.
    """

    key: str
    title: str
    pipelines: frozenset[str]
    sizes: tuple[Size, ...]
    steps: int
    guidance_scale: float
    scheduler: SchedulerName
    flow: FlowPlan | None = None
    guidance: GuidanceKind = "cfg"
    multiple: int = 8
    lacks: Mapping[Feature, str] = field(default_factory=dict[Feature, str])

    @property
    def is_flow(self) -> bool:
        return self.flow is not None

    def tokens(self, width: int, height: int) -> int:
        """Of a picture of `width` × `height` pixels."""
        return (width // self.multiple) * (height // self.multiple)


_TRANSFORMER: dict[Feature, str] = {
    "embeddings": "knows no textual inversion",
    "controls": "takes no control units in Easel yet",
    "references": "takes no reference pictures in Easel yet",
    "seamless": "has no convolutions to close into a ring",
    "score_guidance": "brings no scorer",
    "weights": "reads sentences: weights in brackets are left out",
    "clip_skip": "was trained to hear one layer of each encoder: there is nothing to skip",
}
_OWN_VAE: dict[Feature, str] = {**_TRANSFORMER, "vae": "works with the VAE that it came with only"}
_XL: dict[Feature, str] = {
    "references": "takes no reference pictures in Easel yet",
}

FAMILIES: dict[str, FamilyFacts] = {
    facts.key: facts
    for facts in (
        FamilyFacts(
            "sd1", "Stable Diffusion 1.x", frozenset({"StableDiffusionPipeline", "StableDiffusionInpaintPipeline", "StableDiffusionImg2ImgPipeline"}),
            _SD1_SIZES, 20, 7.5, "dpmpp_2m",
        ),
        FamilyFacts(
            "sdxl", "Stable Diffusion XL",
            frozenset({"StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"}),
            _SDXL_SIZES, 25, 6.0, "dpmpp_2m", lacks=_XL,
        ),
        FamilyFacts(
            "sd3", "Stable Diffusion 3", frozenset({"StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline"}),
            _MEGAPIXEL, 28, 7.0, "flow_euler", flow=own_plan, multiple=16, lacks=_TRANSFORMER,
        ),
        FamilyFacts(
            "flux1", "FLUX.1", frozenset({"FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline", "FluxKontextPipeline"}),
            _MEGAPIXEL, 28, 3.5, "flow_euler", flow=even_plan, guidance="told", multiple=16, lacks=_TRANSFORMER,
        ),
        FamilyFacts(
            "flux2", "FLUX.2 klein", frozenset({"Flux2KleinPipeline", "Flux2KleinInpaintPipeline"}),
            _MEGAPIXEL, 4, 1.0, "flow_euler", flow=measured_plan, multiple=16, lacks=_OWN_VAE,
        ),
        FamilyFacts(
            "zimage", "Z-Image", frozenset({"ZImagePipeline", "ZImageImg2ImgPipeline", "ZImageInpaintPipeline"}),
            _MEGAPIXEL, 9, 1.0, "flow_euler", flow=even_plan, multiple=16, lacks=_TRANSFORMER,
        ),
        FamilyFacts(
            "qwen", "Qwen-Image",
            frozenset({"QwenImagePipeline", "QwenImageImg2ImgPipeline", "QwenImageInpaintPipeline", "QwenImageEditPipeline", "QwenImageEditPlusPipeline"}),
            _QWEN_SIZES, 50, 4.0, "flow_euler", flow=even_plan, multiple=16, lacks=_OWN_VAE,
        ),
    )
}  # fmt: skip


def family_of(index: Mapping[str, Any]) -> FamilyFacts | None:
    """The family that a `model_index.json` says it is of; None for one that Easel does not know."""
    name = index.get("_class_name")
    return next((facts for facts in FAMILIES.values() if name in facts.pipelines), None)


def samplers_of(family: str) -> tuple[SchedulerName, ...]:
    """The samplers that run on models of a family."""
    return samplers_for(is_flow=FAMILIES[family].is_flow)


def check_family(family: str, title: str, *, scheduler: SchedulerName, size: Size, uses: Iterable[Feature]) -> None:
    """Raises `InvalidRequest` about the control that a model of this family does not work with."""
    facts = FAMILIES[family]
    for feature in uses:
        if feature in facts.lacks:
            raise InvalidRequest(f"{title} {facts.lacks[feature]}.", "Take it out, or choose another model.", feature)
    known = samplers_of(family)
    if scheduler not in known:
        labels = ", ".join(SCHEDULER_LABELS[name] for name in known)
        raise InvalidRequest(f"{SCHEDULER_LABELS[scheduler]} does not run on {title}.", f"Samplers that do: {labels}.", "scheduler")
    for field_name, edge in zip(("width", "height"), size, strict=True):
        if edge % facts.multiple:
            near = max(facts.multiple, round(edge / facts.multiple) * facts.multiple)
            raise InvalidRequest(f"{title} draws in steps of {facts.multiple} pixels, not {edge}.", f"Choose {near}.", field_name)


def guidance_kind(family: str, transformer: Mapping[str, Any]) -> GuidanceKind:
    """How a model of the family is guided; `transformer` are the settings of its denoiser, which say whether the number is told to it."""
    kind = FAMILIES[family].guidance
    return "none" if kind == "told" and not transformer.get("guidance_embeds") else kind
