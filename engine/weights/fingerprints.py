"""What models are called, and the names of tensors that only one family has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

Shapes = Mapping[str, tuple[int, ...]]

# Where the parts of a model stand in a single file.
DENOISER_AT = ("model.diffusion_model.", "diffusion_model.", "transformer.", "unet.", "net.")
VAE_AT = ("first_stage_model.", "vae.")
TEXT_AT = ("cond_stage_model.", "conditioner.embedders.", "text_encoders.", "text_encoder.")

# Those that Easel has a row for, then those that it can only name, so that a sentence can say what a file is.
TITLES = {
    "sd1": "Stable Diffusion 1", "sd2": "Stable Diffusion 2", "sdxl": "SDXL", "sdxl-refiner": "the SDXL refiner", "sd3": "Stable Diffusion 3",
    "flux1": "FLUX.1", "flux2": "FLUX.2", "zimage": "Z-Image", "qwen": "Qwen-Image",
    "auraflow": "AuraFlow", "cascade": "Stable Cascade", "chroma": "Chroma", "cosmos": "Cosmos", "flux3": "FLUX.3", "hidream": "HiDream",
    "hunyuan": "HunyuanDiT", "hunyuan-video": "HunyuanVideo", "kandinsky": "Kandinsky", "kolors": "Kolors", "krea2": "Krea 2", "ltx": "LTX-Video",
    "lumina2": "Lumina 2", "mochi": "Mochi", "pixart": "PixArt", "qwen21": "Qwen-Image 2.1", "sana": "Sana", "wan": "Wan",
}  # fmt: skip
# Width of the text embeddings that a UNet's cross-attention takes: it tells the UNets apart.
FAMILY_OF_WIDTH = {256: "the starter", 768: TITLES["sd1"], 1024: TITLES["sd2"], 1280: TITLES["sdxl-refiner"], 2048: TITLES["sdxl"]}
UNET_OF_WIDTH = {256: "sd1", 768: "sd1", 1024: "sd2", 1280: "sdxl-refiner", 2048: "sdxl"}


def named_family(family: str, width: int | None) -> str:
    """The key of `TITLES` for a model of a family whose denoiser takes words of this width: one row draws the first two Stable Diffusions."""
    return "sd2" if family == "sd1" and UNET_OF_WIDTH.get(width or 0) == "sd2" else family


@dataclass(frozen=True)
class Mark:
    """Tensors that together are found in one family only, under the names of the first release or of diffusers."""

    family: str
    layout: str
    keys: tuple[str, ...]

    def is_in(self, names: Collection[str]) -> bool:
        return all(key in names for key in self.keys)


# The first that fits counts: where one family grew out of another, the younger stands first.
DENOISERS = (
    Mark("flux3", "original", ("early_stream_modulations.image.lin.weight",)),
    Mark("flux2", "original", ("single_stream_modulation.lin.weight",)),
    Mark("flux2", "diffusers", ("single_stream_modulation.linear.weight",)),
    Mark("chroma", "original", ("distilled_guidance_layer.in_proj.weight", "double_blocks.0.img_attn.qkv.weight")),
    Mark("chroma", "diffusers", ("distilled_guidance_layer.in_proj.weight",)),
    Mark("hunyuan-video", "original", ("txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias",)),
    Mark("hunyuan-video", "diffusers", ("context_embedder.token_refiner.refiner_blocks.0.norm1.weight",)),
    Mark("flux1", "original", ("double_blocks.0.img_attn.norm.key_norm.scale",)),
    # As some programs write it again.
    Mark("flux1", "original", ("double_blocks.0.img_attn.norm.key_norm.weight", "double_blocks.0.img_attn.qkv.weight")),
    Mark("flux1", "diffusers", ("single_transformer_blocks.0.proj_mlp.weight", "context_embedder.weight")),
    Mark("sd3", "original", ("joint_blocks.0.x_block.attn.qkv.weight",)),
    Mark("auraflow", "original", ("double_layers.0.attn.w2q.weight",)),
    Mark("auraflow", "diffusers", ("joint_transformer_blocks.0.attn.add_q_proj.weight",)),
    Mark("zimage", "original", ("layers.0.adaLN_modulation.0.weight", "cap_embedder.1.weight", "x_embedder.weight")),
    Mark("zimage", "diffusers", ("layers.0.adaLN_modulation.0.weight", "cap_embedder.1.weight")),
    Mark("lumina2", "original", ("layers.0.adaLN_modulation.1.weight", "cap_embedder.1.weight")),
    Mark("qwen21", "original", ("txt_in.text_norm.weight",)),
    # The first release already had diffusers' names.
    Mark("qwen", "diffusers", ("txt_norm.weight", "transformer_blocks.0.img_mod.1.weight")),
    Mark("krea2", "original", ("txtfusion.projector.weight",)),
    Mark("sana", "original", ("blocks.0.mlp.inverted_conv.conv.weight",)),
    Mark("sana", "diffusers", ("transformer_blocks.0.ff.conv_inverted.weight",)),
    Mark("pixart", "original", ("y_embedder.y_proj.fc1.weight", "blocks.0.scale_shift_table")),
    Mark("pixart", "diffusers", ("caption_projection.linear_1.weight", "adaln_single.linear.weight", "pos_embed.proj.weight")),
    Mark("hunyuan", "original", ("mlp_t5.0.weight",)),
    Mark("wan", "original", ("head.modulation",)),
    Mark("wan", "diffusers", ("condition_embedder.time_proj.weight",)),
    Mark("ltx", "original", ("patchify_proj.weight",)),
    Mark("mochi", "original", ("blocks.0.attn.qkv_x.weight",)),
    Mark("hidream", "original", ("double_stream_blocks.0.block.adaLN_modulation.1.bias",)),
    Mark("cosmos", "original", ("pos_embedder.dim_spatial_range",)),
    Mark("cosmos", "original", ("extra_pos_embedder.pos_emb_h",)),
    Mark("cascade", "original", ("clip_txt_mapper.weight",)),
    Mark("cascade", "original", ("down_blocks.1.0.channelwise.0.weight",)),
    # Last: a ControlNet for it has most of these names too.
    Mark("sd3", "diffusers", ("pos_embed.proj.weight", "transformer_blocks.0.attn.add_q_proj.weight", "context_embedder.weight")),
)  # fmt: skip

# What `model_index.json` calls its pipeline begins with one of these; the longer name stands first.
PIPELINES = (
    ("StableDiffusionXL", "sdxl"), ("StableDiffusion3", "sd3"), ("StableDiffusion", "sd1"), ("LatentConsistencyModel", "sd1"), ("Flux2", "flux2"),
    ("Flux3", "flux3"), ("Flux", "flux1"), ("ZImage", "zimage"), ("QwenImage", "qwen"), ("AuraFlow", "auraflow"), ("StableCascade", "cascade"),
    ("Chroma", "chroma"), ("Cosmos", "cosmos"), ("HiDream", "hidream"), ("HunyuanVideo", "hunyuan-video"), ("Hunyuan", "hunyuan"),
    ("Kandinsky", "kandinsky"), ("Kolors", "kolors"), ("Krea", "krea2"), ("LTX", "ltx"), ("Lumina2", "lumina2"), ("Mochi", "mochi"),
    ("PixArt", "pixart"), ("Sana", "sana"), ("Wan", "wan"),
)  # fmt: skip


def family_of_pipeline(name: str) -> str:
    """The family behind the class name of a pipeline; "" for one that is not known."""
    return next((family for start, family in PIPELINES if name.startswith(start)), "")


def part_at(starts: Collection[str], names: Collection[str]) -> str:
    """The beginning that the names of a part's tensors share; "" where none of these is used."""
    return next((start for start in starts if any(name.startswith(start) for name in names)), "")


def under(start: str, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """What stands under a beginning, without it."""
    return {name.removeprefix(start): shape for name, shape in shapes.items() if name.startswith(start)}


def text_width(shapes: Shapes) -> int | None:
    """What a UNet's cross-attention takes."""
    return next((shape[1] for key, shape in shapes.items() if key.endswith("attn2.to_k.weight") and len(shape) == 2), None)
