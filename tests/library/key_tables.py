"""Names and shapes of the tensors in files as they are found in the world, without a single weight: made by rule, as they were when they were trained.

A table holds enough of a file to be told apart: its first layers, and those that only it has.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

Table = dict[str, tuple[int, ...]]


def write(path: Path, table: Mapping[str, tuple[int, ...]], words: Mapping[str, str] | None = None) -> Path:
    """A sound safetensors file of these tensors. It is sparse: a model of 20 GB takes some blocks of disk."""
    header: dict[str, object] = {"__metadata__": dict(words)} if words else {}
    at = 0
    for name, shape in table.items():
        size = 2
        for edge in shape:
            size *= edge
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + at)
    return path


def under(prefix: str, table: Table) -> Table:
    return {prefix + key: shape for key, shape in table.items()}


# UNets


def ldm_unet(width: int, channels: int = 320, taken: int = 4, given: int = 4) -> Table:
    table: Table = {
        "time_embed.0.weight": (channels * 4, channels), "input_blocks.0.0.weight": (channels, taken, 3, 3), "input_blocks.0.0.bias": (channels,),
        "input_blocks.1.0.in_layers.2.weight": (channels, channels, 3, 3), "out.0.weight": (channels,), "out.2.weight": (given, channels, 3, 3),
    }  # fmt: skip
    first = 1 if width in (768, 1024) else 4
    inner = channels if first == 1 else channels * 2
    for letter, size in (("q", inner), ("k", width), ("v", width)):
        table[f"input_blocks.{first}.1.transformer_blocks.0.attn2.to_{letter}.weight"] = (inner, size)
    if width in (1280, 2048):
        table["label_emb.0.0.weight"] = (channels * 4, 2816 if width == 2048 else 2560)
    return table


def diffusers_unet(width: int, channels: int = 320, taken: int = 4) -> Table:
    table: Table = {
        "conv_in.weight": (channels, taken, 3, 3), "conv_out.weight": (4, channels, 3, 3), "time_embedding.linear_1.weight": (channels * 4, channels),
        "down_blocks.0.resnets.0.conv1.weight": (channels, channels, 3, 3), "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight": (1280, width),
    }  # fmt: skip
    return table | ({"add_embedding.linear_1.weight": (1280, 2816)} if width == 2048 else {})


def ldm_vae(latents: int = 4) -> Table:
    return {
        "encoder.conv_in.weight": (128, 3, 3, 3), "encoder.conv_out.weight": (latents * 2, 512, 3, 3), "decoder.conv_in.weight": (512, latents, 3, 3),
        "decoder.mid.block_1.conv1.weight": (512, 512, 3, 3), "decoder.up.0.block.0.conv1.weight": (128, 256, 3, 3), "decoder.conv_out.weight": (3, 128, 3, 3),
    }  # fmt: skip


def diffusers_vae(latents: int = 4) -> Table:
    return {
        "encoder.conv_in.weight": (128, 3, 3, 3), "decoder.conv_in.weight": (512, latents, 3, 3), "decoder.conv_out.weight": (3, 128, 3, 3),
        "decoder.up_blocks.0.resnets.0.conv1.weight": (512, 512, 3, 3), "decoder.mid_block.resnets.0.norm1.weight": (512,),
    }  # fmt: skip


def clip_l(prefix: str = "text_model.") -> Table:
    return under(prefix, {
        "embeddings.token_embedding.weight": (49408, 768), "embeddings.position_embedding.weight": (77, 768),
        "encoder.layers.0.self_attn.q_proj.weight": (768, 768),
    })  # fmt: skip


def open_clip(width: int) -> Table:
    return {
        "model.token_embedding.weight": (49408, width), "model.positional_embedding": (77, width), "model.text_projection": (width, width),
        "model.transformer.resblocks.0.attn.in_proj_weight": (3 * width, width),
    }  # fmt: skip


def t5() -> Table:
    return {"shared.weight": (32128, 4096), "encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096)}


def qwen_text(width: int) -> Table:
    return {"model.embed_tokens.weight": (151936, width), "model.layers.0.self_attn.q_proj.weight": (4096, width), "model.norm.weight": (width,)}


def sd1(taken: int = 4) -> Table:
    return (
        under("model.diffusion_model.", ldm_unet(768, taken=taken))
        | under("first_stage_model.", ldm_vae())
        | under("cond_stage_model.transformer.", clip_l())
        | {"alphas_cumprod": (1000,)}
    )


def sd2() -> Table:
    return under("model.diffusion_model.", ldm_unet(1024)) | under("first_stage_model.", ldm_vae()) | under("cond_stage_model.", open_clip(1024))


def sdxl(taken: int = 4) -> Table:
    return (
        under("model.diffusion_model.", ldm_unet(2048, taken=taken))
        | under("first_stage_model.", ldm_vae())
        | under("conditioner.embedders.0.transformer.", clip_l())
        | under("conditioner.embedders.1.", open_clip(1280))
    )


def sdxl_refiner() -> Table:
    return (
        under("model.diffusion_model.", ldm_unet(1280, channels=384))
        | under("first_stage_model.", ldm_vae())
        | under("conditioner.embedders.0.", open_clip(1280))
    )


# Transformers


def mmdit(width: int, depth: int, *, has_second: bool = False) -> Table:
    """Stable Diffusion 3 as it was released."""
    table: Table = {
        "x_embedder.proj.weight": (width, 16, 2, 2), "context_embedder.weight": (width, 4096), "pos_embed": (1, 36864, width),
        "y_embedder.mlp.0.weight": (width, 2048), "final_layer.linear.weight": (64, width),
    }  # fmt: skip
    for block in range(depth):
        table[f"joint_blocks.{block}.x_block.attn.qkv.weight"] = (3 * width, width)
        table[f"joint_blocks.{block}.context_block.attn.qkv.weight"] = (3 * width, width)
    return table | ({"joint_blocks.0.x_block.attn2.qkv.weight": (3 * width, width)} if has_second else {})


def sd3_diffusers() -> Table:
    return {
        "pos_embed.proj.weight": (1536, 16, 2, 2), "pos_embed.pos_embed": (1, 36864, 1536), "context_embedder.weight": (1536, 4096),
        **{f"transformer_blocks.{block}.attn.{part}.weight": (1536, 1536) for block in range(24) for part in ("to_q", "add_q_proj")},
    }  # fmt: skip


def sd3_all_in_one() -> Table:
    return (
        under("model.diffusion_model.", mmdit(1536, 24))
        | under("first_stage_model.", ldm_vae(16))
        | under("text_encoders.clip_l.transformer.", clip_l())
        | under("text_encoders.t5xxl.transformer.", t5())
    )


def flux(*, is_told: bool, taken: int = 64) -> Table:
    table: Table = {
        "img_in.weight": (3072, taken), "txt_in.weight": (3072, 4096), "vector_in.in_layer.weight": (3072, 768), "final_layer.linear.weight": (64, 3072),
        "double_blocks.0.img_attn.qkv.weight": (9216, 3072), "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
        "double_blocks.0.img_mod.lin.weight": (18432, 3072), "single_blocks.0.linear1.weight": (21504, 3072),
    }  # fmt: skip
    return table | ({"guidance_in.in_layer.weight": (3072, 256)} if is_told else {})


def flux_diffusers(*, is_told: bool) -> Table:
    table: Table = {
        "x_embedder.weight": (3072, 64), "context_embedder.weight": (3072, 4096), "time_text_embed.timestep_embedder.linear_1.weight": (3072, 256),
        "transformer_blocks.0.attn.add_q_proj.weight": (3072, 3072), "single_transformer_blocks.0.proj_mlp.weight": (12288, 3072),
    }  # fmt: skip
    return table | ({"time_text_embed.guidance_embedder.linear_1.weight": (3072, 256)} if is_told else {})


def flux2(width: int) -> Table:
    return {
        "img_in.weight": (width, 128), "txt_in.weight": (width, 7680), "double_stream_modulation_img.lin.weight": (6 * width, width),
        "single_stream_modulation.lin.weight": (3 * width, width), "double_blocks.0.img_attn.qkv.weight": (3 * width, width),
        "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
    }  # fmt: skip


def flux2_diffusers(width: int) -> Table:
    return {
        "x_embedder.weight": (width, 128), "context_embedder.weight": (width, 15360), "single_stream_modulation.linear.weight": (3 * width, width),
        "single_transformer_blocks.0.attn.to_qkv_mlp_proj.weight": (9 * width, width), "transformer_blocks.0.attn.add_q_proj.weight": (width, width),
    }  # fmt: skip


def zimage(embedder: str) -> Table:
    return {
        embedder: (3840, 64), "cap_embedder.0.weight": (2560,), "cap_embedder.1.weight": (3840, 2560), "layers.0.attention.q_norm.weight": (128,),
        "layers.0.adaLN_modulation.0.weight": (15360, 256), "layers.0.feed_forward.w1.weight": (10240, 3840),
    }  # fmt: skip


def lumina2() -> Table:
    return {
        "x_embedder.weight": (2304, 64), "cap_embedder.0.weight": (2304,), "cap_embedder.1.weight": (2304, 2304),
        "layers.0.adaLN_modulation.1.weight": (9216, 1024), "layers.0.attention.qkv.weight": (3840, 2304),
    }  # fmt: skip


def qwen_image() -> Table:
    return {
        "img_in.weight": (3072, 64), "txt_in.weight": (3072, 3584), "txt_norm.weight": (3584,), "transformer_blocks.0.img_mod.1.weight": (18432, 3072),
        "transformer_blocks.0.attn.add_k_proj.weight": (3072, 3072), "proj_out.weight": (64, 3072),
    }  # fmt: skip


def pixart() -> Table:
    return {
        "x_embedder.proj.weight": (1152, 4, 2, 2), "y_embedder.y_proj.fc1.weight": (1152, 4096), "t_block.1.weight": (6912, 1152),
        "blocks.0.scale_shift_table": (6, 1152), "blocks.0.cross_attn.q_linear.weight": (1152, 1152), "blocks.0.attn.qkv.weight": (3456, 1152),
    }  # fmt: skip


def wan() -> Table:
    return {
        "patch_embedding.weight": (1536, 16, 1, 2, 2), "head.modulation": (1, 2, 1536), "text_embedding.0.weight": (1536, 4096),
        "blocks.0.self_attn.q.weight": (1536, 1536), "blocks.0.cross_attn.k.weight": (1536, 1536),
    }  # fmt: skip


def hunyuan_video() -> Table:
    return {
        "img_in.proj.weight": (3072, 16, 1, 2, 2), "txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias": (6144,),
        "double_blocks.0.img_attn_q_norm.weight": (128,), "single_blocks.0.linear1.weight": (21504, 3072),
    }  # fmt: skip


def chroma() -> Table:
    return flux(is_told=False) | {"distilled_guidance_layer.in_proj.weight": (5120, 64), "distilled_guidance_layer.in_proj.bias": (5120,)}


# What steers


def low_rank(bases: Mapping[str, tuple[int, int]], down: str, up: str, rank: int = 8, alpha: str = "") -> Table:
    """`bases` are layers with (what goes in, what comes out)."""
    table: Table = {}
    for base, (taken, given) in bases.items():
        table |= {base + down: (rank, taken), base + up: (given, rank)}
        table |= {base + alpha: ()} if alpha else {}
    return table


def kohya(bases: Mapping[str, tuple[int, int]]) -> Table:
    return low_rank(bases, ".lora_down.weight", ".lora_up.weight", alpha=".alpha")


def peft(bases: Mapping[str, tuple[int, int]]) -> Table:
    return low_rank(bases, ".lora_A.weight", ".lora_B.weight")


def unet_layers(width: int, inner: int = 320, start: str = "unet.", glue: str = ".") -> dict[str, tuple[int, int]]:
    base = glue.join(("down_blocks", "1", "attentions", "0", "transformer_blocks", "0"))
    return {
        f"{start}{base}{glue}attn1{glue}to_q": (inner, inner), f"{start}{base}{glue}attn2{glue}to_k": (width, inner),
        f"{start}{base}{glue}attn2{glue}to_v": (width, inner),
    }  # fmt: skip


def old_diffusers_lora() -> Table:
    start = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_"
    return {
        f"{start}{letter}_lora.{way}.weight": ((4, 768 if letter != "q" else 320) if way == "down" else (320, 4))
        for letter in "qkv"
        for way in ("down", "up")
    }


def loha() -> Table:
    table: Table = {}
    for base, (taken, given) in unet_layers(768, start="lora_unet_", glue="_").items():
        for half in ("1", "2"):
            table |= {f"{base}.hada_w{half}_a": (given, 4), f"{base}.hada_w{half}_b": (4, taken)}
        table[f"{base}.alpha"] = ()
    return table


def lokr() -> Table:
    table: Table = {}
    for base, (taken, given) in unet_layers(2048, inner=640, start="lora_unet_", glue="_").items():
        table |= {f"{base}.lokr_w1": (8, 8), f"{base}.lokr_w2_a": (given // 8, 4), f"{base}.lokr_w2_b": (4, taken // 8), f"{base}.alpha": ()}
    return table


def xlabs() -> Table:
    table: Table = {}
    for part, given in (("qkv", 9216), ("proj", 3072)):
        table |= {
            f"double_blocks.0.processor.{part}_lora1.down.weight": (16, 3072),
            f"double_blocks.0.processor.{part}_lora1.up.weight": (given, 16),
        }
    return table


def controlnet_diffusers(width: int) -> Table:
    return {
        "conv_in.weight": (320, 4, 3, 3), "controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), "controlnet_down_blocks.0.weight": (320, 320, 1, 1),
        "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (640, width),
    }  # fmt: skip


def controlnet_original(prefix: str = "control_model.") -> Table:
    return under(prefix, {
        "zero_convs.0.0.weight": (320, 320, 1, 1), "input_hint_block.0.weight": (16, 3, 3, 3), "input_blocks.0.0.weight": (320, 4, 3, 3),
        "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    })  # fmt: skip


def control_lora() -> Table:
    return {
        "lora_controlnet": (), "input_hint_block.0.weight": (16, 3, 3, 3), "zero_convs.0.0.weight": (320, 320, 1, 1),
        "input_blocks.4.1.transformer_blocks.0.attn2.to_k.up": (640, 128), "input_blocks.4.1.transformer_blocks.0.attn2.to_k.down": (128, 2048),
    }  # fmt: skip


def flux_controlnet() -> Table:
    return {
        "controlnet_x_embedder.weight": (3072, 64),
        "controlnet_blocks.0.weight": (3072, 3072),
        "transformer_blocks.0.attn.to_q.weight": (3072, 3072),
    }


def ip_adapter(width: int) -> Table:
    return {
        "image_proj.proj.weight": (4 * width, 1024), "image_proj.norm.weight": (width,), "ip_adapter.1.to_k_ip.weight": (320, width),
        "ip_adapter.1.to_v_ip.weight": (320, width),
    }  # fmt: skip


def esrgan() -> Table:
    return {"conv_first.weight": (64, 3, 3, 3), "body.0.rdb1.conv1.weight": (32, 64, 3, 3), "conv_last.weight": (3, 64, 3, 3)}


def old_esrgan() -> Table:
    return {"model.0.weight": (64, 3, 3, 3), "model.1.sub.0.RDB1.conv1.0.weight": (32, 64, 3, 3), "model.10.weight": (3, 64, 3, 3)}


def motion_module() -> Table:
    return {
        "down_blocks.0.motion_modules.0.temporal_transformer.norm.weight": (320,),
        "down_blocks.0.motion_modules.0.temporal_transformer.proj_in.weight": (320, 320),
    }


_QWEN_LAYERS = {f"transformer_blocks.{block}.attn.to_q": (3072, 3072) for block in range(60)}
_FLUX_LAYERS = {"transformer.single_transformer_blocks.0.attn.to_q": (3072, 3072), "transformer.transformer_blocks.0.ff.net.0.proj": (3072, 12288)}
_KLEIN_LAYERS = {"double_blocks.0.img_attn.qkv": (3072, 9216), "double_blocks.0.img_mlp.0": (3072, 18432)}
_WAN_LAYERS = {"diffusion_model.blocks.0.self_attn.q": (1536, 1536), "diffusion_model.blocks.0.cross_attn.k": (1536, 1536)}
_XL_TEXT = {"lora_te2_text_model_encoder_layers_0_self_attn_q_proj": (1280, 1280)}

# Name of the table: (what makes it, kind, family, layout, variant, whether it takes a mask).
TABLES: dict[str, tuple[Callable[[], Table], str, str, str, str, bool]] = {
    "sd 1.5": (sd1, "checkpoint", "sd1", "original", "", False),
    "sd 1.5 inpainting": (lambda: sd1(9), "checkpoint", "sd1", "original", "", True),
    "instruct pix2pix": (lambda: sd1(8), "checkpoint", "sd1", "original", "for edits (InstructPix2Pix)", False),
    "sd 1.5 unet, diffusers": (lambda: diffusers_unet(768), "denoiser", "sd1", "diffusers", "", False),
    "sd 2": (sd2, "checkpoint", "sd2", "original", "", False),
    "sdxl": (sdxl, "checkpoint", "sdxl", "original", "", False),
    "sdxl inpainting": (lambda: sdxl(9), "checkpoint", "sdxl", "original", "", True),
    "sdxl unet, diffusers": (lambda: diffusers_unet(2048), "denoiser", "sdxl", "diffusers", "", False),
    "sdxl refiner": (sdxl_refiner, "checkpoint", "sdxl-refiner", "original", "", False),
    "kolors unet": (lambda: diffusers_unet(2048) | {"encoder_hid_proj.weight": (2048, 4096)}, "denoiser", "kolors", "diffusers", "", False),
    "sd 3 medium": (sd3_all_in_one, "checkpoint", "sd3", "original", "3 medium", False),
    "sd 3.5 medium": (lambda: under("model.diffusion_model.", mmdit(1536, 24, has_second=True)), "denoiser", "sd3", "original", "3.5 medium", False),
    "sd 3.5 large": (lambda: mmdit(2432, 38), "denoiser", "sd3", "original", "3.5 large", False),
    "sd 3, diffusers": (sd3_diffusers, "denoiser", "sd3", "diffusers", "3 medium", False),
    "flux dev": (lambda: flux(is_told=True), "denoiser", "flux1", "original", "dev", False),
    "flux schnell, in one file": (
        lambda: under("model.diffusion_model.", flux(is_told=False)) | under("vae.", ldm_vae(16)) | under("text_encoders.t5xxl.transformer.", t5()),
        "checkpoint", "flux1", "original", "schnell", False,
    ),
    "flux fill": (lambda: flux(is_told=True, taken=384), "denoiser", "flux1", "original", "Fill", True),
    "flux depth": (lambda: flux(is_told=True, taken=128), "denoiser", "flux1", "original", "for a control picture", False),
    "flux dev, diffusers": (lambda: flux_diffusers(is_told=True), "denoiser", "flux1", "diffusers", "dev", False),
    "flux schnell, diffusers": (lambda: flux_diffusers(is_told=False), "denoiser", "flux1", "diffusers", "schnell", False),
    "flux 2 klein": (lambda: flux2(3072), "denoiser", "flux2", "original", "klein 4B", False),
    "flux 2 dev, diffusers": (lambda: flux2_diffusers(6144), "denoiser", "flux2", "diffusers", "dev", False),
    "z-image": (lambda: under("model.diffusion_model.", zimage("x_embedder.weight")), "denoiser", "zimage", "original", "", False),
    "z-image, diffusers": (lambda: zimage("all_x_embedder.2-1.weight"), "denoiser", "zimage", "diffusers", "", False),
    "qwen-image": (qwen_image, "denoiser", "qwen", "diffusers", "", False),
    "chroma": (chroma, "denoiser", "chroma", "original", "", False),
    "lumina 2": (lumina2, "denoiser", "lumina2", "original", "", False),
    "pixart": (pixart, "denoiser", "pixart", "original", "", False),
    "wan": (wan, "denoiser", "wan", "original", "", False),
    "hunyuan video": (hunyuan_video, "denoiser", "hunyuan-video", "original", "", False),
    "sd vae": (ldm_vae, "vae", "", "original", "", False),
    "sd vae, diffusers": (diffusers_vae, "vae", "", "diffusers", "", False),
    "flux vae": (lambda: ldm_vae(16), "vae", "", "original", "", False),
    "flux 2 vae": (lambda: diffusers_vae(32), "vae", "flux2", "diffusers", "", False),
    "clip-l": (clip_l, "text encoder", "", "", "", False),
    "t5": (t5, "text encoder", "", "", "", False),
    "qwen 3 4b": (lambda: qwen_text(2560), "text encoder", "", "", "", False),
    "kohya lora, sd 1": (lambda: kohya(unet_layers(768, start="lora_unet_", glue="_")), "lora", "sd1", "kohya", "", False),
    "kohya lora, sdxl": (lambda: kohya(unet_layers(2048, 640, "lora_unet_", "_") | _XL_TEXT), "lora", "sdxl", "kohya", "", False),
    "kohya lora, sdxl text alone": (lambda: kohya(_XL_TEXT), "lora", "sdxl", "kohya", "", False),
    "old diffusers lora": (old_diffusers_lora, "lora", "sd1", "diffusers", "", False),
    "peft lora, sd 1": (lambda: peft(unet_layers(768)), "lora", "sd1", "peft", "", False),
    "peft lora, sdxl": (lambda: peft(unet_layers(2048, 640)), "lora", "sdxl", "peft", "", False),
    "peft lora, sd 3": (lambda: peft({"transformer.transformer_blocks.0.attn.to_q": (1536, 1536)}), "lora", "sd3", "peft", "", False),
    "peft lora, flux": (lambda: peft(_FLUX_LAYERS), "lora", "flux1", "peft", "", False),
    "kohya lora, flux": (
        lambda: kohya({"lora_unet_double_blocks_0_img_attn_qkv": (3072, 9216), "lora_unet_single_blocks_0_linear1": (3072, 21504)}),
        "lora", "flux1", "kohya", "", False,
    ),
    "xlabs lora, flux": (xlabs, "lora", "flux1", "original", "", False),
    "lora, flux 2 klein": (lambda: peft(under_layers("diffusion_model.", _KLEIN_LAYERS)), "lora", "flux2", "original", "", False),
    "peft lora, flux 2": (
        lambda: peft({"transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj": (3072, 27648)}), "lora", "flux2", "peft", "", False,
    ),
    "lora, z-image": (lambda: peft({"diffusion_model.layers.0.attention.to_q": (3840, 3840)}), "lora", "zimage", "original", "", False),
    "kohya lora, z-image": (lambda: kohya({"lora_unet_layers_0_attention_qkv": (3840, 11520)}), "lora", "zimage", "kohya", "", False),
    "peft lora, qwen": (lambda: peft(under_layers("transformer.", _QWEN_LAYERS)), "lora", "qwen", "peft", "", False),
    "lora, wan": (lambda: peft(_WAN_LAYERS), "lora", "wan", "original", "", False),
    "loha, sd 1": (loha, "loha", "sd1", "kohya", "", False),
    "lokr, sdxl": (lokr, "lokr", "sdxl", "kohya", "", False),
    "controlnet, diffusers": (lambda: controlnet_diffusers(768), "controlnet", "sd1", "diffusers", "", False),
    "controlnet, sdxl": (lambda: controlnet_diffusers(2048), "controlnet", "sdxl", "diffusers", "", False),
    "controlnet, original": (controlnet_original, "controlnet", "sd1", "original", "", False),
    "controlnet, flux": (flux_controlnet, "controlnet", "flux1", "diffusers", "", False),
    "control-lora": (control_lora, "control-lora", "sdxl", "original", "", False),
    "ip-adapter, sd 1": (lambda: ip_adapter(768), "ip-adapter", "sd1", "original", "", False),
    "ip-adapter, sdxl": (lambda: ip_adapter(2048), "ip-adapter", "sdxl", "original", "", False),
    "embedding": (lambda: {"emb_params": (4, 768)}, "embedding", "sd1", "", "", False),
    "embedding, sdxl": (lambda: {"clip_l": (4, 768), "clip_g": (4, 1280)}, "embedding", "sdxl", "", "", False),
    "embedding, diffusers": (lambda: {"<cat-toy>": (768,)}, "embedding", "sd1", "", "", False),
    "esrgan": (esrgan, "upscaler", "", "", "", False),
    "old esrgan": (old_esrgan, "upscaler", "", "", "", False),
    "motion module": (motion_module, "unknown", "", "", "", False),
    "something else": (lambda: {"a.weight": (2, 2), "b.weight": (2, 2)}, "unknown", "", "", "", False),
}  # fmt: skip


def under_layers(prefix: str, layers: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    return {prefix + name: sizes for name, sizes in layers.items()}
