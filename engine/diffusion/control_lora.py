"""A ControlNet as the difference to its UNet: low-rank pairs for the copied encoder, whole tensors for what is new.

A ControlNet (Zhang et al. 2023, arXiv:2302.05543) is a copy of the denoiser's encoder that also sees a map. Most of the copy stays near its
origin, so a file keeps the difference of each weight only, as `<module>.up` (out, r) times `<module>.down` (r, in) like a LoRA (Hu et al. 2021,
arXiv:2106.09685, section 4.1). Kernels of convolutions are flattened to (out, in · kh · kw).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from engine.contract.errors import DamagedFile, IncompatibleAdapter
from engine.diffusion.packing import plain_weights

KIND = "control-lora"
# Where the header says how wide the layers are that read the map: "8,16,32,64".
CHANNELS_KEY = "easel.conditioning_channels"
# What a ControlNet has and a UNet has not.
NEW_PARTS = ("controlnet_cond_embedding.", "controlnet_down_blocks.", "controlnet_mid_block.")
_FIELD = "controls"
_CHANNEL_MAX, _LEVELS_MAX = 1024, 6


def expand_control(state: dict[str, torch.Tensor], metadata: dict[str, str], unet: UNet2DConditionModel) -> ControlNetModel:
    """An ordinary ControlNet for this UNet, frozen, in its dtype and on its device. The UNet is only read; one that wears a LoRA counts as bare.

    `state` holds the tensors of a file, `metadata` the words of its header. Raises `IncompatibleAdapter` for a file made for another model,
    `DamagedFile` for one with missing, odd or broken tensors.
    """
    if metadata.get("easel.kind") != KIND:
        raise IncompatibleAdapter("The file is no control that Easel knows.", "Choose another control.", _FIELD)
    control: Any = _skeleton(unet, _channels(metadata))
    base = _encoder_weights(unet)
    wanted = {name: value.shape for name, value in control.state_dict().items()}
    pairs = _pairs(state)
    weights: dict[str, torch.Tensor] = {}
    for name, shape in wanted.items():
        if name.startswith(NEW_PARTS):
            weights[name] = _whole(state, name, shape)
        else:
            weights[name] = base[name].float() + _difference(pairs, name, shape)
    odd = [name for name in state if name.startswith(NEW_PARTS) and name not in wanted]
    odd += [module for module in pairs if f"{module}.weight" not in wanted or module.startswith(NEW_PARTS)]
    if odd:
        raise IncompatibleAdapter(f"The control has a part named {odd[0][:80]!r}, which this model has not.", "Choose a control made for it.", _FIELD)
    # As the UNet itself is laid out on CPU: convolutions in bfloat16 are quicker so.
    layout = torch.channels_last if unet.device.type == "cpu" else torch.contiguous_format
    control.load_state_dict({name: value.to(unet.device, unet.dtype) for name, value in weights.items()}, assign=True)
    return control.to(memory_format=layout).eval().requires_grad_(False)


def compress_control(control: ControlNetModel, unet: UNet2DConditionModel, *, rank: int) -> dict[str, torch.Tensor]:
    """The tensors of a file, float32: the inverse of `expand_control`, exact for a control whose weights differ from the UNet's by that rank.

    A larger difference becomes the nearest one of that rank (Eckart and Young 1936). Norms and biases of the copy are taken to be the UNet's.
    """
    base, state = _encoder_weights(unet), {}
    for name, value in control.state_dict().items():
        if name.startswith(NEW_PARTS):
            state[name] = value.detach().float().clone()
            continue
        difference = (value.detach().float() - base[name].float()).flatten(1) if value.ndim > 1 else None
        if difference is None or not difference.any():
            continue
        left, sizes, right = torch.linalg.svd(difference, full_matrices=False)
        module, kept = name.removesuffix(".weight"), sizes[:rank].sqrt()
        # Both factors share the size, so that neither runs out of fp16's range.
        state[f"{module}.up"] = (left[:, :rank] * kept).contiguous()
        state[f"{module}.down"] = (kept[:, None] * right[:rank]).contiguous()
    return state


def _skeleton(unet: UNet2DConditionModel, channels: tuple[int, ...]) -> ControlNetModel:
    # On no device: nothing is drawn at random and nothing is allocated twice.
    with torch.device("meta"):
        return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=channels, load_weights_from_unet=False)


def _encoder_weights(unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    """The UNet's tensors by their own names. A worn LoRA moves a layer to `<module>.base_layer` and puts its own beside it."""
    return {name.replace(".base_layer.", "."): value for name, value in plain_weights(unet).items() if ".lora_" not in name}


def _channels(metadata: dict[str, str]) -> tuple[int, ...]:
    words = metadata.get(CHANNELS_KEY, "").split(",")
    if not 2 <= len(words) <= _LEVELS_MAX or not all(word.isascii() and word.isdigit() and 0 < int(word[:9]) <= _CHANNEL_MAX for word in words):
        raise _damaged("its header does not say how the map is read")
    return tuple(int(word) for word in words)


def _pairs(state: dict[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """(up, down) by module. Everything that is not new must be one of the two."""
    names = [name for name in state if not name.startswith(NEW_PARTS)]
    modules = {name.rpartition(".")[0] for name in names}
    for name in names:
        if name.rpartition(".")[2] not in ("up", "down"):
            raise _damaged(f"nobody knows its tensor {name[:80]!r}")
    for module in sorted(modules):
        if f"{module}.up" not in state or f"{module}.down" not in state:
            raise _damaged(f"half of the pair {module[:80]!r} is missing")
    return {module: (state[f"{module}.up"], state[f"{module}.down"]) for module in sorted(modules)}


def _whole(state: dict[str, torch.Tensor], name: str, shape: torch.Size) -> torch.Tensor:
    if name not in state:
        raise _damaged(f"its tensor {name!r} is missing")
    if state[name].shape != shape:
        raise _unfit(name)
    return _finite(state[name], name)


def _difference(pairs: dict[str, tuple[torch.Tensor, torch.Tensor]], name: str, shape: torch.Size) -> torch.Tensor | float:
    """up · down in the shape of the weight, float32; 0.0 where the file leaves the weight as it is."""
    module, _, kind = name.rpartition(".")
    if kind != "weight" or module not in pairs:
        return 0.0
    up, down = pairs[module]
    if up.ndim != 2 or down.ndim != 2 or up.shape[1] != down.shape[0] or up.shape[1] == 0:
        raise _damaged(f"the pair {module[:80]!r} does not belong together")
    if len(shape) < 2 or (up.shape[0], down.shape[1]) != (shape[0], math.prod(shape[1:])):
        raise _unfit(module)
    return (_finite(up, module) @ _finite(down, module)).view(shape)


def _finite(tensor: torch.Tensor, name: str) -> torch.Tensor:
    if not torch.isfinite(tensor).all():
        raise _damaged(f"its tensor {name[:80]!r} holds no numbers")
    return tensor.detach().float().cpu()


def _damaged(why: str) -> DamagedFile:
    return DamagedFile(f"The control's file is damaged: {why}.", "Copy or download it again.", _FIELD)


def _unfit(name: str) -> IncompatibleAdapter:
    return IncompatibleAdapter(
        f"The control was made for another model: {name[:80]!r} has another size.", "Choose a control made for this one.", _FIELD
    )
