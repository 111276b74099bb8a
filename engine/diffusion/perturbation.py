"""A model that sees less of how its picture hangs together, for the length of one call: what PAG and SEG turn away from."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from engine.contract.errors import InvalidRequest
from engine.contract.guidance import GUIDANCE_LABELS, GuidanceStyle


@contextmanager
def perturbed(unet: Any, style: GuidanceStyle) -> Generator[None]:
    """While inside, self-attention of `unet` is disturbed as the style wants. No weight is touched; leaving takes everything out again.

    Raises `InvalidRequest` about "guidance_style" where the model has no self-attention.
    """
    layers = attention_layers(unet)
    if not layers:
        message = f"{GUIDANCE_LABELS[style]} needs attention layers, and this model has none."
        raise InvalidRequest(message, "Choose another guidance style.", "guidance_style")
    hooks: list[Any] = []
    try:
        for layer in layers:
            if style == "pag":
                layer.forward = _identity(layer)
            else:
                hooks.append(layer.to_q.register_forward_hook(_one_query))
        yield
    finally:
        for layer in layers:
            # The instance attribute hid the class's own method; without it the layer is what it was.
            layer.__dict__.pop("forward", None)
        for hook in hooks:
            hook.remove()


def attention_layers(unet: Any) -> list[Any]:
    """The self-attention of the middle block, as the authors of PAG choose for Stable Diffusion."""
    return [] if unet.mid_block is None else [module for name, module in unet.mid_block.named_modules() if name.endswith("attn1")]


def _identity(layer: Any) -> Any:
    """Attention in which every place looks only at itself (Ahn et al. 2024, eq. 16): its values go straight to the output."""

    def forward(hidden_states: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        values = layer.to_out[1](layer.to_out[0](layer.to_v(hidden_states)))
        return values / layer.rescale_output_factor

    return forward


def _one_query(_layer: torch.nn.Module, _inputs: object, queries: torch.Tensor) -> torch.Tensor:
    """Queries (B, tokens, dim) blurred without end, which makes them equal (Hong 2024, SEG, σ → ∞): their mean, for pictures of any shape.

    diffusers' hook has the cases of its limit the wrong way round: it takes the mean below a blur of 9999, not above.
    """
    return queries.mean(dim=1, keepdim=True).expand_as(queries)
