"""Transformers as their makers first released them, written from our tiny models: the way back of each conversion, by hand.

Names are those of the files that people have: FLUX.1 and FLUX.2 of Black Forest Labs, Stable Diffusion 3 of Stability, Z-Image as
ComfyUI has it. Qwen-Image was released under diffusers' names.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import load_file

Tensors = dict[str, torch.Tensor]
PREFIX = "model.diffusion_model."


def weights(folder: Path) -> Tensors:
    """Of the transformer of a folder, by diffusers' names."""
    return load_file(next((folder / "transformer").glob("*.safetensors")))


def to_original(family: str, tensors: Tensors) -> Tensors:
    left = dict(tensors)
    made = {"flux1": _flux1, "flux2": _flux2, "sd3": _sd3, "zimage": _zimage, "qwen": _qwen}[family](left)
    # Whatever stands here was forgotten by this file.
    assert not left, sorted(left)
    return {name: value.contiguous() for name, value in made.items()}


def prefixed(tensors: Tensors, start: str = PREFIX) -> Tensors:
    return {start + name: value for name, value in tensors.items()}


def _turned(value: torch.Tensor) -> torch.Tensor:
    """Scale and shift as shift and scale."""
    scale, shift = value.chunk(2)
    return torch.cat([shift, scale])


def _move(left: Tensors, made: Tensors, names: dict[str, str]) -> None:
    """Layers that only have another name, with their weight and bias."""
    for new, old in names.items():
        for kind in ("weight", "bias"):
            if f"{old}.{kind}" in left:
                made[f"{new}.{kind}"] = left.pop(f"{old}.{kind}")


def _join(left: Tensors, made: Tensors, new: str, olds: list[str]) -> None:
    for kind in ("weight", "bias"):
        if f"{olds[0]}.{kind}" in left:
            made[f"{new}.{kind}"] = torch.cat([left.pop(f"{old}.{kind}") for old in olds])


def _end(left: Tensors, made: Tensors) -> None:
    _move(left, made, {"final_layer.linear": "proj_out"})
    for kind in ("weight", "bias"):
        if f"norm_out.linear.{kind}" in left:
            made[f"final_layer.adaLN_modulation.1.{kind}"] = _turned(left.pop(f"norm_out.linear.{kind}"))


def _blocks(left: Tensors, start: str) -> int:
    return len({name.split(".")[1] for name in left if name.startswith(f"{start}.")})


def _streams(left: Tensors, made: Tensors, mlp: tuple[str, str]) -> None:
    """The double blocks of either FLUX; `mlp` are diffusers' names of the two layers behind the attention."""
    for number in range(_blocks(left, "transformer_blocks")):
        new, old = f"double_blocks.{number}", f"transformer_blocks.{number}"
        _join(left, made, f"{new}.img_attn.qkv", [f"{old}.attn.to_{letter}" for letter in "qkv"])
        _join(left, made, f"{new}.txt_attn.qkv", [f"{old}.attn.add_{letter}_proj" for letter in "qkv"])
        _move(left, made, {f"{new}.img_attn.proj": f"{old}.attn.to_out.0", f"{new}.txt_attn.proj": f"{old}.attn.to_add_out"})
        for half, where in (("img", "norm"), ("txt", "norm_added")):
            for long, letter in (("query", "q"), ("key", "k")):
                made[f"{new}.{half}_attn.norm.{long}_norm.scale"] = left.pop(f"{old}.attn.{where}_{letter}.weight")
        for half, where in (("img", "ff"), ("txt", "ff_context")):
            _move(left, made, {f"{new}.{half}_mlp.0": f"{old}.{where}.{mlp[0]}", f"{new}.{half}_mlp.2": f"{old}.{where}.{mlp[1]}"})


def _single_norms(left: Tensors, made: Tensors, number: int) -> None:
    for long, letter in (("query", "q"), ("key", "k")):
        made[f"single_blocks.{number}.norm.{long}_norm.scale"] = left.pop(f"single_transformer_blocks.{number}.attn.norm_{letter}.weight")


def _flux1(left: Tensors) -> Tensors:
    made: Tensors = {}
    time = "time_text_embed"
    for new, old in (("time_in", "timestep_embedder"), ("vector_in", "text_embedder"), ("guidance_in", "guidance_embedder")):
        _move(left, made, {f"{new}.in_layer": f"{time}.{old}.linear_1", f"{new}.out_layer": f"{time}.{old}.linear_2"})
    _move(left, made, {"img_in": "x_embedder", "txt_in": "context_embedder"})
    for number in range(_blocks(left, "transformer_blocks")):
        new, old = f"double_blocks.{number}", f"transformer_blocks.{number}"
        _move(left, made, {f"{new}.img_mod.lin": f"{old}.norm1.linear", f"{new}.txt_mod.lin": f"{old}.norm1_context.linear"})
    _streams(left, made, ("net.0.proj", "net.2"))
    for number in range(_blocks(left, "single_transformer_blocks")):
        new, old = f"single_blocks.{number}", f"single_transformer_blocks.{number}"
        _move(left, made, {f"{new}.modulation.lin": f"{old}.norm.linear", f"{new}.linear2": f"{old}.proj_out"})
        _join(left, made, f"{new}.linear1", [*(f"{old}.attn.to_{letter}" for letter in "qkv"), f"{old}.proj_mlp"])
        _single_norms(left, made, number)
    _end(left, made)
    return made


def _flux2(left: Tensors) -> Tensors:
    made: Tensors = {}
    for new, old in (("time_in", "timestep_embedder"), ("guidance_in", "guidance_embedder")):
        _move(left, made, {f"{new}.in_layer": f"time_guidance_embed.{old}.linear_1", f"{new}.out_layer": f"time_guidance_embed.{old}.linear_2"})
    _move(left, made, {"img_in": "x_embedder", "txt_in": "context_embedder"})
    for one in ("double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation"):
        _move(left, made, {f"{one}.lin": f"{one}.linear"})
    _streams(left, made, ("linear_in", "linear_out"))
    for number in range(_blocks(left, "single_transformer_blocks")):
        new, old = f"single_blocks.{number}", f"single_transformer_blocks.{number}.attn"
        _move(left, made, {f"{new}.linear1": f"{old}.to_qkv_mlp_proj", f"{new}.linear2": f"{old}.to_out"})
        _single_norms(left, made, number)
    _end(left, made)
    return made


def _sd3(left: Tensors) -> Tensors:
    made: Tensors = {"pos_embed": left.pop("pos_embed.pos_embed")}
    for new, old in (("t_embedder", "timestep_embedder"), ("y_embedder", "text_embedder")):
        _move(left, made, {f"{new}.mlp.0": f"time_text_embed.{old}.linear_1", f"{new}.mlp.2": f"time_text_embed.{old}.linear_2"})
    _move(left, made, {"x_embedder.proj": "pos_embed.proj", "context_embedder": "context_embedder"})
    last = _blocks(left, "transformer_blocks") - 1
    for number in range(last + 1):
        picture, words, old = f"joint_blocks.{number}.x_block", f"joint_blocks.{number}.context_block", f"transformer_blocks.{number}"
        _join(left, made, f"{picture}.attn.qkv", [f"{old}.attn.to_{letter}" for letter in "qkv"])
        _join(left, made, f"{picture}.attn2.qkv", [f"{old}.attn2.to_{letter}" for letter in "qkv"])
        _join(left, made, f"{words}.attn.qkv", [f"{old}.attn.add_{letter}_proj" for letter in "qkv"])
        for letter in "qk":
            _move(
                left, made, {f"{picture}.attn.ln_{letter}": f"{old}.attn.norm_{letter}", f"{picture}.attn2.ln_{letter}": f"{old}.attn2.norm_{letter}"}
            )
            _move(left, made, {f"{words}.attn.ln_{letter}": f"{old}.attn.norm_added_{letter}"})
        _move(left, made, {f"{picture}.attn.proj": f"{old}.attn.to_out.0", f"{picture}.attn2.proj": f"{old}.attn2.to_out.0"})
        _move(left, made, {f"{words}.attn.proj": f"{old}.attn.to_add_out", f"{picture}.adaLN_modulation.1": f"{old}.norm1.linear"})
        _move(left, made, {f"{words}.adaLN_modulation.1": f"{old}.norm1_context.linear"})
        for half, where in ((picture, "ff"), (words, "ff_context")):
            _move(left, made, {f"{half}.mlp.fc1": f"{old}.{where}.net.0.proj", f"{half}.mlp.fc2": f"{old}.{where}.net.2"})
    # Nothing is done with the words behind the last attention: their norm is the kind that stands at the end.
    for kind in ("weight", "bias"):
        name = f"joint_blocks.{last}.context_block.adaLN_modulation.1.{kind}"
        made[name] = _turned(made[name])
    _end(left, made)
    return made


def _zimage(left: Tensors) -> Tensors:
    made: Tensors = {}
    for start in ("layers", "noise_refiner", "context_refiner"):
        for number in range(_blocks(left, start)):
            here = f"{start}.{number}.attention"
            _join(left, made, f"{here}.qkv", [f"{here}.to_{letter}" for letter in "qkv"])
            _move(left, made, {f"{here}.out": f"{here}.to_out.0", f"{here}.q_norm": f"{here}.norm_q", f"{here}.k_norm": f"{here}.norm_k"})
    for name in list(left):
        made[re.sub(r"^all_(x_embedder|final_layer)\.2-1\.", r"\1.", name)] = left.pop(name)
    return made


def _qwen(left: Tensors) -> Tensors:
    return {name: left.pop(name) for name in list(left)}
