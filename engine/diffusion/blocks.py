"""Weights for parts of the denoiser: how much of a LoRA each of its blocks takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer

from engine.contract.errors import InvalidRequest

_PLACE = re.compile(r"(?P<side>down|up)_blocks\.(?P<block>\d+)(?:\.(?:attentions|resnets)\.(?P<layer>\d+))?|mid_block")


def weigh_blocks(unet: Any, name: str, weight: float, blocks: Mapping[str, float], title: str) -> None:
    """Give the adapter `name`, which is in the model, its weight times the factor of the block in each of its layers.

    As diffusers' `set_adapters` with block weights, where that names attention. A block here is all of it: diffusers
    leaves the convolutions of "mid" and of blocks without attention at 1. Raises `InvalidRequest` for a block that the
    model does not have.
    """
    known = {place for layer, _ in unet.named_modules() for place in places(layer)}
    if missing := [block for block in blocks if block not in known]:
        message = f"The LoRA {title} has a weight for {missing[0]}, and this model has no such block."
        raise InvalidRequest(message, f"Blocks are {', '.join(sorted(place for place in known if place.count('.') < 2))}.", "loras")
    layers: list[tuple[str, Any]] = [(layer, module) for layer, module in unet.named_modules() if isinstance(module, BaseTunerLayer)]
    for layer, module in layers:
        module.set_scale(name, weight * block_factor(blocks, layer))


def block_factor(blocks: Mapping[str, float], layer: str) -> float:
    """What the finest block says that the layer of this name lies in; 1 where none does."""
    return next((blocks[place] for place in reversed(places(layer)) if place in blocks), 1.0)


def places(layer: str) -> list[str]:
    """Names of the blocks that a layer lies in, the widest first: up, up.1, up.1.0. A resnet and the attention behind it share one."""
    found = _PLACE.match(layer)
    if found is None:
        return []
    if found["side"] is None:
        return ["mid"]
    parts = [found["side"], found["block"], *([found["layer"]] if found["layer"] else [])]
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
