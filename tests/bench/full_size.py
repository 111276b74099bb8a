"""Models of full size with weights at random, for a graphics card: what a step takes does not depend on what was learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.diffusion.families import DYNAMIC, STEPS, t5


@dataclass(frozen=True)
class FullSize:
    """One model and how it is usually run."""

    title: str
    family: str
    make: Callable[[], dict[str, Any]]
    edge: int
    steps: int
    guidance: float


def _clip(width: int, layers: int, *, projected: bool) -> Any:
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=width // 64,
        max_position_embeddings=77, projection_dim=width, bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    return CLIPTextModelWithProjection(config) if projected else CLIPTextModel(config)


def _vae(channels: int, scale: float, shift: float | None = None) -> Any:
    return AutoencoderKL(
        latent_channels=channels, block_out_channels=(128, 256, 512, 512), layers_per_block=2, scaling_factor=scale, shift_factor=shift,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip


def _sd15() -> dict[str, Any]:
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    return {"tokenizer": "clip", "text_encoder": _clip(768, 12, projected=False), "unet": unet, "vae": _vae(4, 0.18215), "scheduler": STEPS}


def _sdxl() -> dict[str, Any]:
    unet = UNet2DConditionModel(
        sample_size=128, block_out_channels=(320, 640, 1280), transformer_layers_per_block=(1, 2, 10), attention_head_dim=(5, 10, 20),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=2048, use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )  # fmt: skip
    return {
        "tokenizer": "clip", "tokenizer_2": "clip", "text_encoder": _clip(768, 12, projected=False), "text_encoder_2": _clip(1280, 32, projected=True),
        "unet": unet, "vae": _vae(4, 0.13025), "scheduler": STEPS,
    }  # fmt: skip


def _flux() -> dict[str, Any]:
    """The transformer of FLUX.1 schnell. Its T5 has two layers here: it reads once, and neither contestant is told by it."""
    tokenizer, encoder = t5(4096)
    return {
        "tokenizer": "clip", "tokenizer_2": tokenizer, "text_encoder": _clip(768, 12, projected=False), "text_encoder_2": encoder,
        "transformer": FluxTransformer2DModel(guidance_embeds=False), "vae": _vae(16, 0.3611, 0.1159), "scheduler": DYNAMIC,
    }  # fmt: skip


FULL_SIZES = (
    FullSize("SD 1.5, 512 × 512, 20 steps", "sd1", _sd15, 512, 20, 7.0),
    FullSize("SDXL, 1024 × 1024, 20 steps", "sdxl", _sdxl, 1024, 20, 7.0),
    FullSize("FLUX.1 schnell, 1024 × 1024, 4 steps", "flux1", _flux, 1024, 4, 1.0),
)
