"""The names of the first release of a transformer, said as diffusers says them: which rows of which tensor are a layer of diffusers'.

diffusers has converters of its own, and they are not used: that of FLUX.1 knows one width only (3072), some leave the beginning
of the names on, and all of them turn a tensor that they do not know into a failure that says nothing. A table is also enough to
hold a file against its model by the header alone, before a byte of it is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from engine.weights.fingerprints import Shapes

Rows = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Cut:
    """These rows of the tensor `source`, one stretch after the other; all of it where there are none."""

    source: str
    rows: Rows = ()

    def shape(self, shapes: Shapes) -> tuple[int, ...]:
        whole = shapes[self.source]
        return (sum(end - start for start, end in self.rows), *whole[1:]) if self.rows else whole


# In a row of a table "*" is the number of a block. Several names share the rows of one tensor, the last of them what is left
# over by the others; a name after "~" has its halves the other way round: shift and scale, where diffusers has scale and shift.
_QKV, _ADDED = ("attn.to_q", "attn.to_k", "attn.to_v"), ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")


def _all_in(start: str, rows: Mapping[str, str | tuple[str, ...]], to: str) -> dict[str, tuple[str, ...]]:
    return {f"{start}.{name}": tuple(f"{to}.{one}" for one in ((new,) if isinstance(new, str) else new)) for name, new in rows.items()}


_FLUX1: dict[str, tuple[str, ...]] = {
    "img_in": ("x_embedder",), "txt_in": ("context_embedder",),
    "time_in.in_layer": ("time_text_embed.timestep_embedder.linear_1",), "time_in.out_layer": ("time_text_embed.timestep_embedder.linear_2",),
    "vector_in.in_layer": ("time_text_embed.text_embedder.linear_1",), "vector_in.out_layer": ("time_text_embed.text_embedder.linear_2",),
    "guidance_in.in_layer": ("time_text_embed.guidance_embedder.linear_1",), "guidance_in.out_layer": ("time_text_embed.guidance_embedder.linear_2",),
    **_all_in("double_blocks.*", {
        "img_mod.lin": "norm1.linear", "txt_mod.lin": "norm1_context.linear", "img_attn.qkv": _QKV, "txt_attn.qkv": _ADDED,
        "img_attn.norm.query_norm": "attn.norm_q", "img_attn.norm.key_norm": "attn.norm_k", "img_attn.proj": "attn.to_out.0",
        "txt_attn.norm.query_norm": "attn.norm_added_q", "txt_attn.norm.key_norm": "attn.norm_added_k", "txt_attn.proj": "attn.to_add_out",
        "img_mlp.0": "ff.net.0.proj", "img_mlp.2": "ff.net.2", "txt_mlp.0": "ff_context.net.0.proj", "txt_mlp.2": "ff_context.net.2",
    }, "transformer_blocks.*"),
    **_all_in("single_blocks.*", {
        "modulation.lin": "norm.linear", "linear1": (*_QKV, "proj_mlp"), "linear2": "proj_out",
        "norm.query_norm": "attn.norm_q", "norm.key_norm": "attn.norm_k",
    }, "single_transformer_blocks.*"),
    "final_layer.linear": ("proj_out",), "final_layer.adaLN_modulation.1": ("~norm_out.linear",),
}  # fmt: skip
_FLUX2: dict[str, tuple[str, ...]] = {
    "img_in": ("x_embedder",), "txt_in": ("context_embedder",),
    "time_in.in_layer": ("time_guidance_embed.timestep_embedder.linear_1",), "time_in.out_layer": ("time_guidance_embed.timestep_embedder.linear_2",),
    "guidance_in.in_layer": ("time_guidance_embed.guidance_embedder.linear_1",),
    "guidance_in.out_layer": ("time_guidance_embed.guidance_embedder.linear_2",),
    "double_stream_modulation_img.lin": ("double_stream_modulation_img.linear",),
    "double_stream_modulation_txt.lin": ("double_stream_modulation_txt.linear",), "single_stream_modulation.lin": ("single_stream_modulation.linear",),
    **_all_in("double_blocks.*", {
        "img_attn.qkv": _QKV, "txt_attn.qkv": _ADDED, "img_attn.norm.query_norm": "attn.norm_q", "img_attn.norm.key_norm": "attn.norm_k",
        "txt_attn.norm.query_norm": "attn.norm_added_q", "txt_attn.norm.key_norm": "attn.norm_added_k", "img_attn.proj": "attn.to_out.0",
        "txt_attn.proj": "attn.to_add_out", "img_mlp.0": "ff.linear_in", "img_mlp.2": "ff.linear_out", "txt_mlp.0": "ff_context.linear_in",
        "txt_mlp.2": "ff_context.linear_out",
    }, "transformer_blocks.*"),
    # Its attention is fused in diffusers too.
    **_all_in("single_blocks.*", {
        "linear1": "attn.to_qkv_mlp_proj", "linear2": "attn.to_out", "norm.query_norm": "attn.norm_q", "norm.key_norm": "attn.norm_k",
    }, "single_transformer_blocks.*"),
    "final_layer.linear": ("proj_out",), "final_layer.adaLN_modulation.1": ("~norm_out.linear",),
}  # fmt: skip
_SD3: dict[str, tuple[str, ...]] = {
    "pos_embed": ("pos_embed.pos_embed",), "x_embedder.proj": ("pos_embed.proj",), "context_embedder": ("context_embedder",),
    "t_embedder.mlp.0": ("time_text_embed.timestep_embedder.linear_1",), "t_embedder.mlp.2": ("time_text_embed.timestep_embedder.linear_2",),
    "y_embedder.mlp.0": ("time_text_embed.text_embedder.linear_1",), "y_embedder.mlp.2": ("time_text_embed.text_embedder.linear_2",),
    **_all_in("joint_blocks.*", {
        "x_block.adaLN_modulation.1": "norm1.linear", "context_block.adaLN_modulation.1": "norm1_context.linear",
        "x_block.attn.qkv": _QKV, "context_block.attn.qkv": _ADDED, "x_block.attn.ln_q": "attn.norm_q", "x_block.attn.ln_k": "attn.norm_k",
        "context_block.attn.ln_q": "attn.norm_added_q", "context_block.attn.ln_k": "attn.norm_added_k",
        "x_block.attn.proj": "attn.to_out.0", "context_block.attn.proj": "attn.to_add_out",
        "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"), "x_block.attn2.ln_q": "attn2.norm_q", "x_block.attn2.ln_k": "attn2.norm_k",
        "x_block.attn2.proj": "attn2.to_out.0", "x_block.mlp.fc1": "ff.net.0.proj", "x_block.mlp.fc2": "ff.net.2",
        "context_block.mlp.fc1": "ff_context.net.0.proj", "context_block.mlp.fc2": "ff_context.net.2",
    }, "transformer_blocks.*"),
    "final_layer.linear": ("proj_out",), "final_layer.adaLN_modulation.1": ("~norm_out.linear",),
}  # fmt: skip
_FUSED: dict[str, str | tuple[str, ...]] = {"qkv": ("to_q", "to_k", "to_v"), "out": "to_out.0", "q_norm": "norm_q", "k_norm": "norm_k"}
_ZIMAGE: dict[str, tuple[str, ...]] = {
    # The first number is that of pixels in a patch, the second that of frames.
    "x_embedder": ("all_x_embedder.2-1",), "final_layer.linear": ("all_final_layer.2-1.linear",),
    "final_layer.adaLN_modulation.1": ("all_final_layer.2-1.adaLN_modulation.1",),
    **_all_in("layers.*.attention", _FUSED, "layers.*.attention"),
    **_all_in("noise_refiner.*.attention", _FUSED, "noise_refiner.*.attention"),
    **_all_in("context_refiner.*.attention", _FUSED, "context_refiner.*.attention"),
}  # fmt: skip
# What a table does not name has the same name in both.
_TABLES = {"flux1": _FLUX1, "flux2": _FLUX2, "sd3": _SD3, "zimage": _ZIMAGE}
_BLOCK = re.compile(r"^([a-z_]+)\.(\d+)\.")


def in_diffusers_names(family: str, shapes: Shapes) -> dict[str, Cut]:
    """Where the tensors of diffusers' model lie among those of a first release, by their names without the beginning that they share.

    Tensors that already have diffusers' names keep them. Raises `ValueError` for one whose rows cannot be shared out.
    """
    table = _TABLES.get(family, {})
    found: dict[str, Cut] = {}
    for name, shape in shapes.items():
        layer, _, kind = name.rpartition(".") if name not in table else (name, "", "")
        block = _BLOCK.match(layer)
        pattern = _BLOCK.sub(r"\1.*.", layer)
        if (named := table.get(pattern)) is None:
            found[name] = Cut(name)
            continue
        # In the last block of SD 3 nothing comes after the sentence's half: it has a shift and a scale only, in the order of the end.
        is_last = pattern == "joint_blocks.*.context_block.adaLN_modulation.1" and shape[0] == 2 * shapes["final_layer.linear.weight"][1]
        for new, rows in _shared(named, shape, name, shapes, is_turned=is_last):
            layer_new = new.replace("*", block[2]) if block else new
            # A norm calls its weight a scale.
            found[".".join(filter(None, (layer_new, "weight" if kind == "scale" else kind)))] = Cut(name, rows)
    return found


def _shared(named: tuple[str, ...], shape: tuple[int, ...], name: str, shapes: Shapes, *, is_turned: bool) -> list[tuple[str, Rows]]:
    rows = shape[0] if shape else 0
    if len(named) == 1:
        new = named[0].removeprefix("~")
        half = rows // 2
        return [(new, ((half, rows), (0, half)) if is_turned or new != named[0] else ())]
    # Beside the attention lies a layer of another width: what comes out of the block is as wide as each of the three.
    out = f"{name.partition('.linear1')[0]}.linear2.weight"
    width = rows // 3 if len(named) == 3 else shapes.get(out, (0,))[0]
    if not 0 < 3 * width <= rows or (len(named) == 3 and rows % 3):
        raise ValueError(f"{name} cannot be shared out")
    edges = [width * number for number in range(len(named))] + [rows]
    return [(new, ((edges[number], edges[number + 1]),)) for number, new in enumerate(named)]
