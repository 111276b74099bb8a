"""Small untrained models of Stable Diffusion 1, 2 and XL, as a folder and as one file in the layout of their first release: the same weights in both."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.diffusion.single_file import clip_tokenizer

PRESETS = Path(__file__).resolve().parents[2] / "presets" / "single_files"
Tensors = dict[str, torch.Tensor]
_LAYERS = 1
_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}  # fmt: skip
_TOP = {
    "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_norm_out": "out.0",
    "conv_out": "out.2", "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "mid_block.attentions.0": "middle_block.1",
}  # fmt: skip
_CLIP = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip


def make_pair(folder: Path, family: str, **options: Any) -> tuple[Path, Path]:
    """A folder and a file beside it, `<family>.safetensors`. `in_channels` of the denoiser, `words` to put beside the tensors."""
    torch.manual_seed(len(family))
    parts = {"sd1": _sd1, "sd2": _sd2, "sdxl": _sdxl}[family](**options)
    home = folder / f"{family}-folder"
    usual = json.loads((PRESETS / f"{family}.json").read_text())
    for name, part in parts.items():
        part.eval().save_pretrained(home / name)
        if "text" in name:
            clip_tokenizer(is_open=name == "text_encoder_2" or family == "sd2").save_pretrained(home / name.replace("text_encoder", "tokenizer"))
    (home / "scheduler").mkdir()
    (home / "scheduler" / "scheduler_config.json").write_text(json.dumps(usual["scheduler"]))
    (home / "model_index.json").write_text(json.dumps(usual["model_index"]))
    return home, to_original(home, folder / f"{family}.safetensors", family)


def to_original(home: Path, file: Path, family: str, more: Tensors | None = None, without: tuple[str, ...] = ()) -> Path:
    """The weights of a folder as one file; `without` are parts that are left out."""
    starts = {"unet": ("model.diffusion_model.", unet_keys), "vae": ("first_stage_model.", vae_keys)}
    first = {"sd1": "cond_stage_model.transformer.", "sd2": "cond_stage_model.model.", "sdxl": "conditioner.embedders.0.transformer."}[family]
    starts |= {
        "text_encoder": (first, last_but_one_keys if family == "sd2" else clip_keys),
        "text_encoder_2": ("conditioner.embedders.1.model.", open_clip_keys),
    }
    tensors: Tensors = dict(more or {})
    for part, (start, convert) in starts.items():
        if (home / part).is_dir() and part not in without:
            stored = load_file(next((home / part).glob("*.safetensors")))
            tensors |= {start + name: value.contiguous() for name, value in convert(stored).items()}
    save_file(tensors, file)
    return file


def unet_keys(stored: Tensors) -> Tensors:
    attends = {match[1] for name in stored if (match := re.match(r"up_blocks\.(\d+)\.attentions", name))}

    def place(match: re.Match[str]) -> str:
        way, block, kind, number = match[1], int(match[2]), match[3], int(match[4])
        first = block * (_LAYERS + 1)
        if way == "mid":
            return f"middle_block.{number * 2}."
        if kind == "downsamplers":
            return f"input_blocks.{first + _LAYERS + 1}.0."
        if kind == "upsamplers":
            return f"output_blocks.{first + _LAYERS}.{2 if match[2] in attends else 1}."
        start = f"input_blocks.{first + number + 1}" if way == "down" else f"output_blocks.{first + number}"
        return f"{start}.{1 if kind == 'attentions' else 0}."

    found: Tensors = {}
    for name, value in stored.items():
        if (top := next((new for old, new in _TOP.items() if name.startswith(f"{old}.")), None)) is not None:
            old = next(old for old in _TOP if name.startswith(f"{old}."))
            found[top + name.removeprefix(old)] = value
            continue
        moved = re.sub(r"^(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.", place, name)
        moved = re.sub(r"^(mid)_block(s?)\.(resnets)\.(\d+)\.", lambda match: f"middle_block.{int(match[4]) * 2}.", moved)
        if ".resnets." in name:
            for old, new in _RESNET.items():
                moved = moved.replace(f".{old}.", f".{new}.")
        if ".downsamplers." in name:
            moved = moved.replace(".conv.", ".op.")
        found[moved] = value
    return found


def vae_keys(stored: Tensors) -> Tensors:
    levels = 1 + max(int(name.split(".")[2]) for name in stored if name.startswith("decoder.up_blocks."))
    found: Tensors = {}
    for name, value in stored.items():
        moved = re.sub(r"encoder\.down_blocks\.(\d+)\.resnets\.", r"encoder.down.\1.block.", name)
        moved = re.sub(r"encoder\.down_blocks\.(\d+)\.downsamplers\.0\.", r"encoder.down.\1.downsample.", moved)
        moved = re.sub(r"decoder\.up_blocks\.(\d+)\.resnets\.", lambda match: f"decoder.up.{levels - 1 - int(match[1])}.block.", moved)
        moved = re.sub(r"decoder\.up_blocks\.(\d+)\.upsamplers\.0\.", lambda match: f"decoder.up.{levels - 1 - int(match[1])}.upsample.", moved)
        moved = re.sub(r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", moved)
        moved = moved.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        if "mid_block.attentions" in moved:
            moved = moved.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm").replace("to_out.0", "proj_out")
            moved = re.sub(r"\.to_([qkv])\.", r".\1.", moved)
            # It was a convolution over one pixel.
            value = value[:, :, None, None] if value.ndim == 2 else value
        found[moved] = value
    return found


def clip_keys(stored: Tensors) -> Tensors:
    return {f"text_model.{name.removeprefix('text_model.')}": value for name, value in stored.items()}


def last_but_one_keys(stored: Tensors) -> Tensors:
    """A whole OpenCLIP encoder around the layers that Stable Diffusion 2 hears: one more layer, and a projection."""
    bare = {name.removeprefix("text_model."): value for name, value in stored.items()}
    layers = 1 + max(int(name.split(".")[2]) for name in bare if name.startswith("encoder.layers."))
    first = {name: value for name, value in bare.items() if name.startswith("encoder.layers.0.")}
    spare = {name.replace("layers.0.", f"layers.{layers}."): torch.randn_like(value) for name, value in first.items()}
    width = bare["final_layer_norm.weight"].shape[0]
    return open_clip_keys(bare | spare | {"text_projection.weight": torch.randn(width, width)})


def open_clip_keys(stored: Tensors) -> Tensors:
    bare = {name.removeprefix("text_model."): value for name, value in stored.items()}
    found: Tensors = {
        "token_embedding.weight": bare["embeddings.token_embedding.weight"], "positional_embedding": bare["embeddings.position_embedding.weight"],
        "ln_final.weight": bare["final_layer_norm.weight"], "ln_final.bias": bare["final_layer_norm.bias"],
        "text_projection": bare["text_projection.weight"].T, "logit_scale": torch.tensor(4.6),
    }  # fmt: skip
    for name, value in bare.items():
        if not name.startswith("encoder.layers."):
            continue
        moved = name.replace("encoder.layers.", "transformer.resblocks.")
        for old, new in _CLIP.items():
            moved = moved.replace(old, new)
        if ".q_proj." in name:
            three = [bare[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            found[moved.replace("self_attn.q_proj.", "attn.in_proj_")] = torch.cat(three)
        elif not re.search(r"\.[kv]_proj\.", name):
            found[moved] = value
    return found


def _clip(width: int, *, layers: int = 3, projected: bool = False) -> Any:
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers, num_attention_heads=1, max_position_embeddings=77,
        projection_dim=width if projected else 768, bos_token_id=0, eos_token_id=2, pad_token_id=1, hidden_act="gelu" if projected else "quick_gelu",
    )  # fmt: skip
    return CLIPTextModelWithProjection(config) if projected else CLIPTextModel(config)


def make_vae(*, latents: int = 4, scaling: float = 0.18215, sample_size: int = 512) -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=latents, block_out_channels=(32, 32, 32, 64), layers_per_block=1, norm_num_groups=32,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, scaling_factor=scaling,
        sample_size=sample_size,
    )  # fmt: skip


def _sd1(*, in_channels: int = 4) -> dict[str, Any]:
    unet = UNet2DConditionModel(
        sample_size=64, in_channels=in_channels, out_channels=4, layers_per_block=_LAYERS, block_out_channels=(32, 64), norm_num_groups=32,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=32,
        attention_head_dim=8,
    )  # fmt: skip
    return {"unet": unet, "vae": make_vae(), "text_encoder": _clip(32)}


def _sd2(*, in_channels: int = 4) -> dict[str, Any]:
    unet = UNet2DConditionModel(
        sample_size=64, in_channels=in_channels, out_channels=4, layers_per_block=_LAYERS, block_out_channels=(64, 128), norm_num_groups=32,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=64,
        attention_head_dim=(1, 2), use_linear_projection=True,
    )  # fmt: skip
    encoder: Any = _clip(64, layers=2, projected=True)
    encoder.config.projection_dim = 512
    heard: Any = CLIPTextModel(encoder.config)
    return {"unet": unet, "vae": make_vae(), "text_encoder": heard}


def _sdxl(*, in_channels: int = 4) -> dict[str, Any]:
    unet = UNet2DConditionModel(
        sample_size=128, in_channels=in_channels, out_channels=4, layers_per_block=_LAYERS, block_out_channels=(64, 128), norm_num_groups=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2), cross_attention_dim=96, attention_head_dim=(1, 2), use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=64 + 6 * 8,
    )  # fmt: skip
    return {"unet": unet, "vae": make_vae(scaling=0.13025, sample_size=1024), "text_encoder": _clip(32), "text_encoder_2": _clip(64, projected=True)}
