"""Small untrained ControlNets that really add something, and files and folders of them in every layout."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from safetensors.torch import save_file

HINTS = (8, 8, 16, 16)


def make_control(unet: Any, *, seed: int, size: float = 0.05, hints: tuple[int, ...] = HINTS, **more: Any) -> ControlNetModel:
    """A copy of the UNet's encoder whose outputs are not zero, as those of a fresh one are."""
    torch.manual_seed(seed)
    known = inspect.signature(ControlNetModel.__init__).parameters
    config = {name: value for name, value in unet.config.items() if name in known}
    net: Any = ControlNetModel(**{**config, "in_channels": unet.config.out_channels, "conditioning_embedding_out_channels": hints, **more})
    rng = torch.Generator().manual_seed(seed)
    for name, value in net.named_parameters():
        if name.startswith(("controlnet_down_blocks", "controlnet_mid_block", "controlnet_cond_embedding.conv_out")):
            value.data = torch.randn(value.shape, generator=rng) * size
    return net.eval().requires_grad_(False)


def write_folder(folder: Path, net: Any) -> Path:
    net.save_pretrained(folder)
    return folder


def write_file(path: Path, net: Any, **words: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, path, metadata=words or None)
    return path


def write_original(path: Path, net: Any) -> Path:
    """The names of the original release, written out from its numbering: input blocks, a middle, zero convolutions, the reader of the map."""
    state = net.state_dict()
    made: dict[str, torch.Tensor] = {}

    def move(old: str, new: str) -> None:
        for kind in ("weight", "bias"):
            if f"{old}.{kind}" in state:
                made[f"control_model.{new}.{kind}"] = state[f"{old}.{kind}"].contiguous()

    def move_resnet(old: str, new: str) -> None:
        for name, number in {
            "norm1": "in_layers.0",
            "conv1": "in_layers.2",
            "time_emb_proj": "emb_layers.1",
            "norm2": "out_layers.0",
            "conv2": "out_layers.3",
            "conv_shortcut": "skip_connection",
        }.items():
            move(f"{old}.{name}", f"{new}.{number}")

    def move_rest(old: str, new: str) -> None:
        for key in state:
            if key.startswith(f"{old}."):
                made[f"control_model.{new}.{key.removeprefix(f'{old}.')}"] = state[key].contiguous()

    move("time_embedding.linear_1", "time_embed.0")
    move("time_embedding.linear_2", "time_embed.2")
    move("conv_in", "input_blocks.0.0")
    number = 1
    for level, block in enumerate(net.down_blocks):
        for layer in range(len(block.resnets)):
            move_resnet(f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{number}.0")
            move_rest(f"down_blocks.{level}.attentions.{layer}", f"input_blocks.{number}.1")
            number += 1
        if block.downsamplers is not None:
            move(f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{number}.0.op")
            number += 1
    for index in range(number):
        move(f"controlnet_down_blocks.{index}", f"zero_convs.{index}.0")
    move_resnet("mid_block.resnets.0", "middle_block.0")
    move_rest("mid_block.attentions.0", "middle_block.1")
    move_resnet("mid_block.resnets.1", "middle_block.2")
    move("controlnet_mid_block", "middle_block_out.0")
    move("controlnet_cond_embedding.conv_in", "input_hint_block.0")
    for index in range(len(net.controlnet_cond_embedding.blocks)):
        move(f"controlnet_cond_embedding.blocks.{index}", f"input_hint_block.{2 * index + 2}")
    move("controlnet_cond_embedding.conv_out", "input_hint_block.14")
    save_file(made, path)
    return path


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())
