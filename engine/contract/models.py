"""What the page may know about a model without loading it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from engine.contract.guidance import GuidanceKind
from engine.contract.schedulers import SchedulerName


class AboutLine(BaseModel):
    """One thing that a model's card says of it: what it was trained on, what it cannot do."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    title: Annotated[str, Field(max_length=80)]
    text: Annotated[str, Field(max_length=4000)]


class ModelCard(BaseModel):
    """Facts about one model on disk: read from its folder, never from its weights. Sizes are (width, height) pixels."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    title: str
    family: str
    # The family as a person would say it: Stable Diffusion 2 is drawn by the row of the first one.
    family_title: str = ""
    content_hash: str
    bytes_on_disk: int
    default_size: tuple[int, int]
    sizes: tuple[tuple[int, int], ...]
    default_steps: int = 20
    default_guidance: float = 7.5
    default_scheduler: SchedulerName = "dpmpp_2m"
    guidance: GuidanceKind = "cfg"
    # Width of the text embeddings that the denoiser takes: adapters are made for one.
    text_width: int | None = None
    # Channels of what its denoiser's encoder passes on, in order: a control adds to exactly these.
    residuals: tuple[int, ...] = ()
    # Widths of its cross-attention layers, on the way down, on the way up, then between: adapters bring weights for each.
    attention_widths: tuple[int, ...] = ()
    # Layers of its (first) CLIP text encoder; None where there is nothing to skip.
    clip_layers: int | None = None
    # What its VAE makes: latent channels, pixels per latent along an edge, and what latents are multiplied by.
    latents: tuple[int, int, float] | None = None
    # The VAE that it is used with unless another is asked for; "" is its own. `wants_vae`: it has none.
    vae: str = ""
    wants_vae: bool = False
    # The row of `engine.contract.editing.EDITORS` by which it edits; "" where it cannot.
    editor: str = ""
    licence: str = ""
    # Where it was fetched from: "owner/name@commit".
    source: str = ""
    note: str = ""
    # The model card and the data card in short, where its folder brings them.
    about: Annotated[tuple[AboutLine, ...], Field(max_length=24)] = ()
    # Whether something in its folder can score pictures: CLIP and classifier guidance need that.
    has_scorer: bool = False
    # What it is, in a sentence; bytes of its parts in 16 bit, by component: what fits follows from them.
    what: str = ""
    parts: dict[str, int] = {}
    is_bundled: bool = False
    # Why it cannot be used, in words; None where nothing is known against it.
    refusal: str | None = None
    # Share of noise, 0 to 1, at 33 even places of the schedule from start to end: what a plot of it needs.
    noise_curve: tuple[float, ...] = ()
