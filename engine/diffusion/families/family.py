"""What the engine has to know about a family of models beyond its facts: its parts, its voice, its latents and how its denoiser is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from engine.contract.families import FamilyFacts
from engine.diffusion.conditioning import Told
from engine.diffusion.voices import Voice

# Loaded parts by their names in `model_index.json`, and what that file says beside them.
Parts = Mapping[str, Any]
# (denoiser, sample (R, C, h, w), timestep, what to tell it, further keyword arguments) → prediction (R, C, h, w).
Predict = Callable[[Any, torch.Tensor, torch.Tensor, Told, Mapping[str, Any]], torch.Tensor]
# (guided, conditional) predictions (B, C, h, w) → what the family goes on with.
Settle = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Denoiser:
    """A denoising module, how its family calls it, and what the family does to a guided prediction, if anything.

    `ready` brings it, and what works beside it, to where they work: to be called before each of its calls.
    """

    network: Any
    predict: Predict
    settle: Settle | None = None
    ready: Callable[[], None] = lambda: None


class Latents(Protocol):
    """Between pixels and what a family's loop walks on, (B, C, h, w) float32 whatever its denoiser makes of it."""

    def channels(self, vae: Any) -> int:
        """C."""
        ...

    def scale(self, vae: Any) -> int:
        """Pixels per latent along an edge."""
        ...

    def draws(self, vae: Any) -> bool:
        """Whether encoding draws from a generator."""
        ...

    def encode(self, vae: Any, pixels: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """(1, 3, H, W) in [-1, 1], in the type of the autoencoder → (1, C, h, w) float32. Without a generator nothing is left to chance."""
        ...

    def decode(self, vae: Any, latents: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """(B, C, h, w) float32 → (B, 3, H, W) in about [-1, 1], computed in `dtype`."""
        ...


@dataclass(frozen=True)
class LoraReader:
    """Which class of diffusers knows the layouts of a family's LoRA files, and the text encoders that they may change."""

    name: str
    encoders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """A row of code beside its row of facts.

    `components` maps a name in `model_index.json` to the class names that are accepted there; those in `optional` may be
    missing. `network` is the name of the denoiser. `preview_matrix` (C × 3) and `preview_bias` (3) turn predicted clean
    latents into RGB in [-1, 1]; a model's own `easel.json` may bring better ones, and where neither is known the map is
    measured on the model's own autoencoder.
    """

    facts: FamilyFacts
    components: Mapping[str, frozenset[str]]
    voice: Callable[[Parts, Mapping[str, Any]], Voice]
    latents: Latents
    predict: Predict
    network: str = "unet"
    optional: frozenset[str] = frozenset()
    settle: Settle | None = None
    loras: LoraReader | None = None
    preview_matrix: tuple[tuple[float, float, float], ...] | None = None
    preview_bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
    # Settings of the folder's `model_index.json` that the voice asks for, with what holds where they are missing.
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def key(self) -> str:
        return self.facts.key

    @property
    def title(self) -> str:
        return self.facts.title
