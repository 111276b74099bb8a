"""Small untrained models of every family, as folders like downloaded ones, and diffusers' own pipeline on the same parts."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_kl_flux2 import AutoencoderKLFlux2
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import AutoencoderKLQwenImage
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel
from diffusers.models.transformers.transformer_qwenimage import QwenImageTransformer2DModel
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from engine.diffusion.loading import Components
from tests.conftest import STARTER

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)
# Pipelines by family and mode, where diffusers has one.
PIPELINES = {
    "sd1": {"txt2img": "stable_diffusion.pipeline_stable_diffusion:StableDiffusionPipeline"},
    "sdxl": {
        "txt2img": "stable_diffusion_xl.pipeline_stable_diffusion_xl:StableDiffusionXLPipeline",
        "img2img": "stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img:StableDiffusionXLImg2ImgPipeline",
        "inpaint": "stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint:StableDiffusionXLInpaintPipeline",
        "control": "controlnet.pipeline_controlnet_sd_xl:StableDiffusionXLControlNetPipeline",
    },
    "sd3": {
        "txt2img": "stable_diffusion_3.pipeline_stable_diffusion_3:StableDiffusion3Pipeline",
        "img2img": "stable_diffusion_3.pipeline_stable_diffusion_3_img2img:StableDiffusion3Img2ImgPipeline",
        "inpaint": "stable_diffusion_3.pipeline_stable_diffusion_3_inpaint:StableDiffusion3InpaintPipeline",
    },
    "flux1": {
        "txt2img": "flux.pipeline_flux:FluxPipeline",
        "img2img": "flux.pipeline_flux_img2img:FluxImg2ImgPipeline",
        "inpaint": "flux.pipeline_flux_inpaint:FluxInpaintPipeline",
        "edit": "flux.pipeline_flux_kontext:FluxKontextPipeline",
    },
    "flux2": {
        "txt2img": "flux2.pipeline_flux2_klein:Flux2KleinPipeline",
        "inpaint": "flux2.pipeline_flux2_klein_inpaint:Flux2KleinInpaintPipeline",
        "edit": "flux2.pipeline_flux2_klein:Flux2KleinPipeline",
    },
    "zimage": {
        "txt2img": "z_image.pipeline_z_image:ZImagePipeline",
        "img2img": "z_image.pipeline_z_image_img2img:ZImageImg2ImgPipeline",
        "inpaint": "z_image.pipeline_z_image_inpaint:ZImageInpaintPipeline",
    },
    "qwen": {
        "txt2img": "qwenimage.pipeline_qwenimage:QwenImagePipeline",
        "img2img": "qwenimage.pipeline_qwenimage_img2img:QwenImageImg2ImgPipeline",
        "inpaint": "qwenimage.pipeline_qwenimage_inpaint:QwenImageInpaintPipeline",
        "edit": "qwenimage.pipeline_qwenimage_edit:QwenImageEditPipeline",
        "edit plus": "qwenimage.pipeline_qwenimage_edit_plus:QwenImageEditPlusPipeline",
    },
}  # fmt: skip


def pipeline(components: Components, mode: str, **more: Any) -> Any:
    """diffusers' pipeline of the components' family on the very same parts, with a scheduler of its own."""
    module, name = PIPELINES[components.family.key][mode].split(":")
    cls: Any = getattr(import_module(f"diffusers.pipelines.{module}"), name)
    scheduler_cls: Any = getattr(import_module("diffusers"), components.scheduler_config["_class_name"])
    parts: dict[str, Any] = dict(components.parts)
    if components.family.key == "sd3":
        parts = {"tokenizer_3": None, "text_encoder_3": None, **parts}
    if components.family.key == "sd1":
        more = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False, **more}
    if components.family.key == "sdxl":
        more = {"add_watermarker": False, **more}
    if components.family.key == "flux1":
        more = {"image_encoder": None, "feature_extractor": None, **more}
    pipe = cls(**parts, scheduler=scheduler_cls.from_config(components.scheduler_config), **more)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_family(folder: Path, key: str, *, made_for: str = "txt2img", **options: Any) -> Path:
    """A folder that loads as a model of the family, of the pipeline `made_for`. `options`: flux1 takes `guidance_embeds`, flux1 and flux2 `layers`, sd3 `with_t5`, qwen `zero_cond_t`."""
    torch.manual_seed(len(key) + sum(map(ord, key)))
    parts = make_parts(key, **options)
    if key == "qwen" and made_for.startswith("edit"):
        parts["processor"] = _eyes(parts["tokenizer"])
    return save_family(folder, PIPELINES[key][made_for].split(":")[1], parts)


def make_parts(key: str, **options: Any) -> dict[str, Any]:
    """Tiny parts of a family, as `save_family` takes them."""
    return _PARTS[key](**options)


def save_family(folder: Path, pipeline_name: str, parts: dict[str, Any]) -> Path:
    """Write parts as diffusers does. "clip" stands for the starter's tokenizer; the scheduler is its settings."""
    folder.mkdir(parents=True)
    index: dict[str, Any] = {"_class_name": pipeline_name}
    for name, part in parts.items():
        if name == "scheduler":
            (folder / name).mkdir()
            (folder / name / "scheduler_config.json").write_text(json.dumps(part))
            index[name] = ["diffusers", part["_class_name"]]
        elif part == "clip":
            shutil.copytree(STARTER / "tokenizer", folder / name)
            index[name] = ["transformers", "CLIPTokenizer"]
        else:
            (part.eval() if hasattr(part, "eval") else part).save_pretrained(folder / name)
            library = "diffusers" if type(part).__module__.startswith("diffusers") else "transformers"
            index[name] = [library, type(part).__name__]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _clip(width: int, *, projected: bool) -> Any:
    config = CLIPTextConfig(
        vocab_size=4096, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=3, num_attention_heads=2, max_position_embeddings=77,
        projection_dim=width, bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    return CLIPTextModelWithProjection(config) if projected else CLIPTextModel(config)


def t5(width: int) -> tuple[Any, Any]:
    words = ["a", "red", "castle", "at", "sunset", "blurry", "fog", "over", "the", "sea"]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{word}", -2.0) for word in words), *((letter, -5.0) for letter in "▁abcdefghijklmnopqrstuvwxyz")]  # fmt: skip
    config = T5Config(vocab_size=len(vocab), d_model=width, d_kv=8, d_ff=32, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu")
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=512), T5EncoderModel(config)


def _qwen_tokenizer() -> Any:
    vocab = {letter: number for number, letter in enumerate(bytes_to_unicode().values())}
    specials = ["<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    for special in ("<|endoftext|>", *specials):
        vocab[special] = len(vocab)
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=[], model_max_length=2048)
    tokenizer.add_special_tokens({"additional_special_tokens": specials})
    tokenizer.chat_template = CHAT
    return tokenizer


def _eyes(tokenizer: Any) -> Any:
    """What puts pictures before the encoder."""
    return Qwen2VLProcessor(Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=12_845_056), tokenizer, Qwen2VLVideoProcessor())


def _qwen3(width: int, layers: int) -> Any:
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=272, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers, num_attention_heads=2, num_key_value_heads=1,
            head_dim=8, max_position_embeddings=4096, bos_token_id=256, eos_token_id=258, pad_token_id=256,
        )
    )  # fmt: skip


def _kl(channels: int, *, shift: float | None) -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=channels, block_out_channels=(8, 8, 8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, scaling_factor=0.9, shift_factor=shift,
    )  # fmt: skip


STEPS = {
    "_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
    "prediction_type": "epsilon", "steps_offset": 1, "timestep_spacing": "leading",
}  # fmt: skip
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0, "use_dynamic_shifting": False}
DYNAMIC = {
    **FLOW,
    "shift": 1.0,
    "use_dynamic_shifting": True,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}


def _sdxl(*, in_channels: int = 4) -> dict[str, Any]:
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=in_channels, out_channels=4, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2), cross_attention_dim=40, attention_head_dim=(2, 4), use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=24 + 6 * 8,
    )  # fmt: skip
    return {
        "tokenizer": "clip", "tokenizer_2": "clip", "text_encoder": _clip(16, projected=False), "text_encoder_2": _clip(24, projected=True),
        "unet": unet, "vae": _kl(4, shift=None), "scheduler": STEPS,
    }  # fmt: skip


def _sd3(*, with_t5: bool = True) -> dict[str, Any]:
    transformer = SD3Transformer2DModel(
        sample_size=32, patch_size=2, in_channels=16, num_layers=2, attention_head_dim=8, num_attention_heads=4, joint_attention_dim=48,
        caption_projection_dim=32, pooled_projection_dim=16 + 24, out_channels=16, pos_embed_max_size=48, dual_attention_layers=(0,), qk_norm="rms_norm",
    )  # fmt: skip
    parts: dict[str, Any] = {
        "tokenizer": "clip", "tokenizer_2": "clip", "text_encoder": _clip(16, projected=True), "text_encoder_2": _clip(24, projected=True),
        "transformer": transformer, "vae": _kl(16, shift=0.06), "scheduler": FLOW,
    }  # fmt: skip
    if with_t5:
        parts["tokenizer_3"], parts["text_encoder_3"] = t5(48)
    return parts


def _flux1(*, guidance_embeds: bool = True, layers: int = 1) -> dict[str, Any]:
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=layers, num_single_layers=layers, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=24,
        pooled_projection_dim=16, guidance_embeds=guidance_embeds, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    tokenizer, sentences = t5(24)
    return {
        "tokenizer": "clip", "tokenizer_2": tokenizer, "text_encoder": _clip(16, projected=False), "text_encoder_2": sentences,
        "transformer": transformer, "vae": _kl(16, shift=0.12), "scheduler": DYNAMIC,
    }  # fmt: skip


def _flux2(*, layers: int = 1) -> dict[str, Any]:
    transformer = Flux2Transformer2DModel(
        in_channels=32, num_layers=layers, num_single_layers=layers, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=48,
        timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )  # fmt: skip
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 16), layers_per_block=1, latent_channels=8, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    vae.bn.running_mean.uniform_(-0.5, 0.5)
    vae.bn.running_var.uniform_(0.5, 2.0)
    return {
        "tokenizer": _qwen_tokenizer(),
        "text_encoder": _qwen3(16, 28),
        "transformer": transformer,
        "vae": vae,
        "scheduler": {**DYNAMIC, "shift": 3.0},
    }


def _zimage() -> dict[str, Any]:
    transformer = ZImageTransformer2DModel(
        in_channels=16,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[1024, 64, 64],
    )
    # Its padding tokens are made without values; a trained model brings them.
    for name in ("x_pad_token", "cap_pad_token"):
        torch.nn.init.normal_(getattr(transformer, name))
    return {"tokenizer": _qwen_tokenizer(), "text_encoder": _qwen3(16, 3), "transformer": transformer, "vae": _kl(16, shift=0.12), "scheduler": FLOW}


def _qwen(*, zero_cond_t: bool = False) -> dict[str, Any]:
    text = {
        "vocab_size": 272, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
        "max_position_embeddings": 4096, "bos_token_id": 256, "eos_token_id": 258, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
    }  # fmt: skip
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16, "fullatt_block_indexes": [0]}
    encoder = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, image_token_id=259, video_token_id=260, vision_start_token_id=261, vision_end_token_id=262))  # fmt: skip
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
        zero_cond_t=zero_cond_t,
    )
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.1, 0.9, 1.3, 1.0],
    )  # fmt: skip
    return {"tokenizer": _qwen_tokenizer(), "text_encoder": encoder, "transformer": transformer, "vae": vae, "scheduler": DYNAMIC}


_PARTS: dict[str, Any] = {"sdxl": _sdxl, "sd3": _sd3, "flux1": _flux1, "flux2": _flux2, "zimage": _zimage, "qwen": _qwen}
