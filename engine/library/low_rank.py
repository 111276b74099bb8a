"""LoRA files and their kin by the names and shapes of their tensors: which kind, whose layout, for which family."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from engine.weights.fingerprints import UNET_OF_WIDTH

LowRankKind = Literal["lora", "loha", "lokr", "oft", "ia3"]
Modules = dict[str, dict[str, tuple[int, ...]]]

# What is steered, then which of its small matrices this is.
_PART = re.compile(
    r"(.+?)[._](lora_A|lora_B|lora_down|lora_up|lora\.down|lora\.up|lora[12]\.down|lora[12]\.up|lora_linear_layer\.down|lora_linear_layer\.up"
    r"|hada_w[12]_[ab]|lokr_w[12](?:_[ab])?|oft_blocks|oft_diag|oft_R|ia3_l|on_input)(?:[._].*)?"
)
_PREFIX = re.compile(r"^(base_model\.model\.)?(model\.)?(diffusion_model|transformer|unet|lora_unet|lora_transformer|lycoris)[._]")
_DOWN = ("lora_A", "lora_down", "lora.down", "lora1.down", "lora2.down", "lora_linear_layer.down", "hada_w1_b")
_UP = ("lora_B", "lora_up", "lora.up", "lora1.up", "lora2.up", "lora_linear_layer.up", "hada_w1_a")
_KINDS: tuple[tuple[str, LowRankKind], ...] = (("hada_w", "loha"), ("lokr_w", "lokr"), ("oft_", "oft"), ("ia3_l", "ia3"), ("on_input", "ia3"))
_TEXT = ("text_encoder", "lora_te", "text_encoders", "te1_", "te2_")


@dataclass(frozen=True)
class LowRank:
    """`family` is "" where the tensors do not tell; `width` is what a UNet's cross-attention takes."""

    kind: LowRankKind
    layout: str
    family: str
    width: int | None


def read_low_rank(shapes: Mapping[str, tuple[int, ...]]) -> LowRank | None:
    """None for a file that holds nothing of the kind."""
    modules: Modules = {}
    for key, shape in shapes.items():
        if found := _PART.fullmatch(key):
            modules.setdefault(found[1], {})[found[2]] = shape
    if not modules:
        return None
    parts = {part for several in modules.values() for part in several}
    kinds: list[LowRankKind] = [kind for start, kind in _KINDS if any(part.startswith(start) for part in parts)]
    text = {base for base in modules if base.startswith(_TEXT)}
    # One spelling for all layouts: dots and underscores mean the same.
    flat = {_PREFIX.sub("", base).replace(".", "_"): several for base, several in modules.items() if base not in text}
    width = _text_width(flat)
    family = _family(flat, width, text)
    # One for the second text encoder alone says as much as one for the denoiser.
    return LowRank(kinds[0] if kinds else "lora", _layout(modules, parts), family, 2048 if family == "sdxl" else width)


def _layout(modules: Modules, parts: set[str]) -> str:
    if any(base.startswith(("lora_unet_", "lora_te", "lora_transformer_", "lycoris_")) for base in modules):
        return "kohya"
    if any(base.startswith(("diffusion_model.", "model.diffusion_model.", "double_blocks.", "single_blocks.")) for base in modules):
        return "original"
    return "peft" if parts & {"lora_A", "lora_B"} else "diffusers"


def _family(flat: Modules, width: int | None, text: set[str]) -> str:
    def has(pattern: str) -> bool:
        return any(re.search(pattern, base) for base in flat)

    if has(r"^(down_blocks|up_blocks|mid_block|input_blocks|output_blocks|middle_block)_"):
        return UNET_OF_WIDTH.get(width or 0, "") or ("sdxl" if any(base.startswith("lora_te2") for base in text) else "")
    if has("distilled_guidance_layer"):
        return "chroma"
    if has("double_stream_modulation|single_stream_modulation|to_qkv_mlp_proj"):
        return "flux2"
    if has(r"^(double_blocks|single_blocks|single_transformer_blocks)_\d"):
        return _flux(flat)
    if has(r"^joint_transformer_blocks_\d"):
        return "auraflow"
    if has(r"^joint_blocks_\d"):
        return "sd3"
    if has(r"^transformer_blocks_\d+_(img|txt)_(mlp|mod)"):
        return "qwen"
    if has(r"^transformer_blocks_\d+_attn_"):
        hidden = _hidden(flat, r"^transformer_blocks_\d+_attn_")
        # Both are 3072 wide; Qwen-Image is three times as deep.
        return {1536: "sd3", 2432: "sd3", 3072: "qwen" if _deepest(flat) > 18 else "flux1"}.get(hidden or 0, "")
    if has(r"^layers_\d+_(attention|feed_forward|adaLN_modulation)"):
        return {3840: "zimage", 2304: "lumina2"}.get(_hidden(flat, r"_(attention_(qkv|to_q|to_k)|feed_forward_w[13])$") or 0, "")
    if has(r"^blocks_\d+_cross_attn_(q_linear|kv_linear)"):
        return "pixart"
    if has(r"^blocks_\d+_cross_attn_[qkvo]$"):
        return "wan"
    if has(r"^transformer_blocks_\d+_attn2_"):
        return {1152: "pixart", 2048: "ltx"}.get(_hidden(flat, "_attn1_to_q$") or 0, "")
    if not flat:
        return "sdxl" if any(base.startswith("lora_te2") for base in text) else "sd1" if any(base.startswith("lora_te_") for base in text) else ""
    return ""


def _flux(flat: Modules) -> str:
    """FLUX.2's small model is as wide as FLUX.1; its feed-forward layers are half as wide again, and gated."""
    if any(re.search(r"_ff_linear_(in|out)$", base) for base in flat):
        return "flux2"
    hidden = _hidden(flat, r"(_img_attn_(qkv|proj)|_processor_(qkv|proj)|_linear1|_to_[qkv]|_proj_mlp)$")
    for base, parts in flat.items():
        if base.endswith(("_img_mlp_0", "_linear1")) and hidden and (out := _out(parts)) is not None:
            return "flux1" if out in (4 * hidden, 7 * hidden) else "flux2"
    return "flux2" if hidden in (4096, 6144) else "flux1"


def _text_width(flat: Modules) -> int | None:
    widths = (
        _in(parts)
        for base, parts in flat.items()
        if "attn2" in base and base.endswith(("to_k", "to_v")) and not base.startswith("transformer_blocks")
    )
    return next((width for width in widths if width), None)


def _hidden(flat: Modules, pattern: str) -> int | None:
    return next((width for base, parts in flat.items() if re.search(pattern, base) and (width := _in(parts))), None)


def _deepest(flat: Modules) -> int:
    return max((int(found[1]) for base in flat if (found := re.match(r"transformer_blocks_(\d+)_", base))), default=0)


def _in(parts: Mapping[str, tuple[int, ...]]) -> int | None:
    """How wide what goes into the steered layer is."""
    if shape := next((parts[name] for name in _DOWN if len(parts.get(name, ())) >= 2), None):
        return shape[1]
    return _kronecker(parts, axis=1)


def _out(parts: Mapping[str, tuple[int, ...]]) -> int | None:
    """How wide what comes out of it is."""
    if shape := next((parts[name] for name in _UP if len(parts.get(name, ())) >= 2), None):
        return shape[0]
    return _kronecker(parts, axis=0)


def _kronecker(parts: Mapping[str, tuple[int, ...]], *, axis: int) -> int | None:
    """A side of w1 ⊗ w2, of which each may be a product of two."""
    sides: list[int] = []
    for name in ("lokr_w1", "lokr_w2"):
        shape = parts.get(name) or parts.get(f"{name}_{'a' if axis == 0 else 'b'}") or ()
        if len(shape) < 2:
            return None
        sides.append(shape[axis])
    return sides[0] * sides[1]
