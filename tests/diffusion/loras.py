"""Adapter files of every layout, made here: small, random, and really different from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
CONVOLUTIONS = ["conv1", "conv2"]
TEXT = ["q_proj", "v_proj"]


def matrices(model: Any, targets: list[str], *, seed: int, dora: bool = False, scale: float = 0.05) -> dict[str, torch.Tensor]:
    """PEFT's own state of an adapter with random matrices on these layers. The model is left as it was."""
    copy = type(model).from_config(model.config) if isinstance(model, ModelMixin) else type(model)(model.config)
    copy.load_state_dict(model.state_dict())
    copy.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=targets, use_dora=dora))
    state = get_peft_model_state_dict(copy)
    rng = torch.Generator().manual_seed(seed)
    return {
        key: value.clone() if "magnitude" in key else torch.randn(value.shape, generator=rng) * scale for key, value in state.items()
    }  # fmt: skip


def write(path: Path, unet: Any, text_encoder: Any, layout: str, *, seed: int = 0) -> Path:
    """One file in `layout`: diffusers, peft, kohya, locon (with convolutions), dora, text (denoiser and text encoder)."""
    targets = ATTENTION + (CONVOLUTIONS if layout == "locon" else [])
    state = matrices(unet, targets, seed=seed, dora=layout == "dora")
    match layout:
        case "peft":
            save_file({f"base_model.model.{key}": value for key, value in state.items()}, path)
        case "kohya" | "locon":
            save_file(_kohya(state), path)
        case "text":
            words = matrices(text_encoder, TEXT, seed=seed + 1)
            StableDiffusionPipeline.save_lora_weights(path.parent, state, words, weight_name=path.name)
        case _:
            StableDiffusionPipeline.save_lora_weights(path.parent, state, weight_name=path.name)
    return path


def _kohya(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names of the most common trainer: parts joined by underscores, and an alpha for each pair."""
    made: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        layer, matrix, _ = key.rsplit(".", 2)
        name = "lora_unet_" + layer.replace(".", "_")
        made[f"{name}.{'lora_down' if matrix == 'lora_A' else 'lora_up'}.weight"] = value
        made[f"{name}.alpha"] = torch.tensor(2.0)
    return made
