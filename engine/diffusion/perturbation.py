"""A model that sees less of how its picture hangs together, for the length of one call: what PAG and SEG turn away from."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from engine.contract.errors import InvalidRequest
from engine.contract.guidance import GUIDANCE_LABELS, GuidanceStyle

_PLACES = 8


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
    """Self-attention where the picture is about 8 × 8 places, at the size that the model was made for.

    In Stable Diffusion that is the middle block, as the authors of PAG choose. A smaller model's middle sees 4 × 4
    places and says next to nothing: there it is the level above, down and up.
    """
    levels = len(unet.down_blocks)
    side = unet.config["sample_size"]
    level = levels - 1
    while isinstance(side, int) and level > 0 and side >> level < _PLACES:
        level -= 1
    blocks = [unet.mid_block] if level == levels - 1 else [unet.down_blocks[level], unet.up_blocks[levels - 1 - level]]
    found = _self_attention(blocks)
    return found or _self_attention([unet.mid_block])


def _self_attention(blocks: list[Any]) -> list[Any]:
    return [module for block in blocks if block is not None for name, module in block.named_modules() if name.endswith("attn1")]


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
