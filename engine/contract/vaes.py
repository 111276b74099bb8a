"""VAEs that may stand in for a model's own, as the page may know them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from engine.contract.models import ModelCard

# What a request says where a model is usually used with another VAE than its own.
OWN_VAE = "own"


class VaeCard(BaseModel):
    """`channels` are those of its latents, `pixels` how many one of them stands for along an edge, `scaling` what they are multiplied by, if it says so."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    bytes_on_disk: int
    content_hash: str = ""
    channels: int = 0
    pixels: int = 0
    scaling: float | None = None
    # Why it cannot be used, in words; None where nothing is known against it.
    refusal: str | None = None

    def misfit(self, model: ModelCard) -> str | None:
        """Why it does not go with a model, as the rest of a sentence that begins with its name; None where it does."""
        if model.latents is None:
            return f"cannot be put in the place of the VAE of {model.title}."
        channels, pixels, scaling = model.latents
        if self.channels != channels:
            return f"has {self.channels} latent channels, and {model.title} draws with {channels}."
        if self.pixels != pixels:
            return f"makes one latent of {self.pixels} × {self.pixels} pixels, and {model.title} of {pixels} × {pixels}."
        if self.scaling is not None and abs(self.scaling - scaling) > 1e-4 * scaling:
            return f"multiplies its latents by {self.scaling:g}, and {model.title} was trained with {scaling:g}."
        return None
