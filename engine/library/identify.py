"""What a file or folder is: by the names and shapes of its tensors and by small configuration files. Nothing is loaded and nothing is believed."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from engine.contract.errors import DamagedFile, EngineError, IncompatibleAdapter
from engine.library.low_rank import read_low_rank
from engine.weights.fingerprints import (
    DENOISER_AT,
    DENOISERS,
    FAMILY_OF_WIDTH,
    TEXT_AT,
    TITLES,
    UNET_OF_WIDTH,
    VAE_AT,
    Shapes,
    family_of_pipeline,
    part_at,
    text_width,
    under,
)
from engine.weights.headers import judge_header
from engine.weights.quantised import is_in_four_bits, quantised_problem
from engine.weights.single_files import is_gguf, judge_file
from engine.weights.variants import chosen_weights

Kind = Literal[
    "checkpoint", "denoiser", "vae", "text encoder", "image encoder", "lora", "loha", "lokr", "oft", "ia3", "controlnet", "control-lora",
    "ip-adapter", "embedding", "upscaler", "unknown",
]  # fmt: skip
MODELS: frozenset[Kind] = frozenset({"checkpoint", "denoiser"})
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")

_CALLED: dict[Kind, str] = {
    "checkpoint": "a whole model", "denoiser": "the denoiser of a model without text encoder and VAE", "vae": "a VAE", "text encoder": "a text encoder",
    "image encoder": "an image encoder", "lora": "a LoRA", "loha": "a LoHa", "lokr": "a LoKr", "oft": "an OFT adapter", "ia3": "an IA³ adapter",
    "controlnet": "a ControlNet", "control-lora": "a Control-LoRA", "ip-adapter": "an IP-Adapter", "embedding": "an embedding", "upscaler": "an upscaler",
    "unknown": "nothing that Easel knows",
}  # fmt: skip
_HOMES: dict[Kind, str] = {
    "checkpoint": "models", "denoiser": "models", "lora": "loras", "loha": "loras", "lokr": "loras", "oft": "loras", "ia3": "loras",
    "controlnet": "controlnets", "control-lora": "controlnets", "ip-adapter": "ip_adapters", "embedding": "embeddings", "upscaler": "upscalers", "vae": "vaes",
}  # fmt: skip
_IMAGE_VAES = {4: "Stable Diffusion 1, 2 or SDXL", 16: "Stable Diffusion 3, FLUX.1 or Z-Image", 32: "FLUX.2"}
_LANGUAGE_MODELS = {2560: "Z-Image or FLUX.2 klein", 3584: "Qwen-Image", 4096: "FLUX.2 klein 9B", 5120: "FLUX.2 dev"}
_LIBRARIES = ("diffusers", "transformers")
# Named in many an index, and not needed to draw.
_SPARE = ("safety_checker", "feature_extractor", "image_encoder")
# Never opened, whatever it holds.
_UNREAD = ("safety_checker",)
_JSON_MAX = 4 * 1024 * 1024


@dataclass(frozen=True)
class Identity:
    """`family` and `layout` are "" where the tensors do not tell; `width` is what a UNet's cross-attention takes."""

    kind: Kind
    family: str = ""
    layout: str = ""
    variant: str = ""
    is_inpainting: bool = False
    width: int | None = None
    # For a VAE or an encoder, which serves several families; for what is not known, what it may be.
    goes_with: str = ""

    @property
    def made_for(self) -> str:
        """The family as a person would say it; "" where it is not known."""
        by_width = FAMILY_OF_WIDTH.get(self.width or 0, "") if self.family in ("", UNET_OF_WIDTH.get(self.width or 0)) else ""
        return by_width or TITLES.get(self.family, "") or self.goes_with

    @property
    def text(self) -> str:
        """What it is, in one sentence."""
        link = " of " if self.kind in MODELS else ", maybe " if self.kind == "unknown" else " for "
        whose = f"{link}{' '.join(filter(None, (self.made_for, self.variant)))}" if self.made_for else ""
        more = (", for inpainting" if self.is_inpainting else "") + (f", in the {self.layout} layout" if self.layout else "")
        return f"It is {_CALLED[self.kind]}{whose}{more}."


def identify(path: Path) -> Identity:
    """What a `.safetensors` or `.gguf` file or a diffusers folder is. Raises `DamagedFile` for one that cannot be used at all, in well under a second."""
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() in PICKLES:
        raise DamagedFile(
            f"{path.name} is a pickle, which can carry a program.", "Get the .safetensors file of it; Easel opens no other kind.", "model"
        )
    if path.stat().st_size == 0:
        raise DamagedFile(f"{path.name} is empty.", "Copy or download it again.", "model")
    header = judge_file(path)
    return recognise(header.shapes, header.words)


def expect(path: Path, kinds: Collection[Kind], *, field: str = "model") -> Identity:
    """The same, for a place that takes only some kinds. Raises what `identify` raises, or `IncompatibleAdapter` that says where it belongs."""
    found = identify(path)
    if found.kind in kinds:
        return found
    wanted = _CALLED["checkpoint" if kinds & MODELS else next(iter(sorted(kinds)))] if isinstance(kinds, frozenset | set) else "what belongs here"
    raise IncompatibleAdapter(f"{path.name} is not {wanted}. {found.text}", where_to(found), field)


def where_to(found: Identity) -> str:
    """What to do with it, where it was offered as something else."""
    if home := _HOMES.get(found.kind):
        return f"Put it into data/{home}."
    if found.kind in ("text encoder", "image encoder"):
        return "It is one part of a model: put it into the folder of the model that it belongs to."
    return "Choose another file."


def recognise(shapes: Shapes, words: Mapping[str, str] | None = None) -> Identity:
    """What tensors of these names and shapes are."""
    if found := _steers(shapes, words or {}):
        return found
    if (low := read_low_rank(shapes)) is not None:
        return Identity(low.kind, low.family, low.layout, width=low.width)
    if found := _denoiser(shapes):
        return found
    return _part(shapes)


def _steers(shapes: Shapes, words: Mapping[str, str]) -> Identity | None:
    """What works beside a denoiser: controls and IP-Adapters."""
    width = next((shape[1] for key, shape in shapes.items() if "attn2.to_k" in key and key.endswith((".weight", ".down")) and len(shape) == 2), None)
    family = UNET_OF_WIDTH.get(width or 0, "")
    if "lora_controlnet" in shapes or words.get("easel.kind") == "control-lora":
        return Identity("control-lora", family, "original" if "lora_controlnet" in shapes else "diffusers", width=width)
    if any(key.startswith(("image_proj.", "ip_adapter.")) for key in shapes):
        wide = next((shape[1] for key, shape in shapes.items() if key.endswith("to_k_ip.weight") and len(shape) == 2), None)
        return Identity("ip-adapter", UNET_OF_WIDTH.get(wide or 0, ""), "original", width=wide)
    if any(key.startswith("lllite_") for key in shapes):
        return Identity("controlnet", family, "kohya", "LLLite", width=width)
    if "controlnet_cond_embedding.conv_in.weight" in shapes:
        is_union = "task_embedding" in shapes or "control_add_embedding.linear_1.weight" in shapes
        return Identity("controlnet", family, "diffusers", "union" if is_union else "", width=width)
    if any(key.removeprefix("control_model.") in ("zero_convs.0.0.weight", "input_hint_block.0.weight") for key in shapes):
        return Identity("controlnet", family, "original", width=width)
    if any(key.removeprefix("adapter.") in ("body.0.resnets.0.block1.weight", "body.0.block1.weight") for key in shapes):
        return Identity("controlnet", family, "original", "T2I-Adapter", width=width)
    transformers = (
        ("controlnet_x_embedder.weight", "flux1"),
        ("control_all_x_embedder.2-1.weight", "zimage"),
        ("pos_embed_input.proj.weight", "sd3"),
    )
    if of := next((family for key, family in transformers if key in shapes), None):
        return Identity("controlnet", of, "diffusers")
    return Identity("controlnet", "qwen" if "txt_norm.weight" in shapes else "", "diffusers") if "controlnet_blocks.0.weight" in shapes else None


def _denoiser(shapes: Shapes) -> Identity | None:
    bare = under(part_at(DENOISER_AT, shapes), shapes)
    is_whole = all(any(key.startswith(starts) for key in shapes) for starts in (VAE_AT, TEXT_AT))
    kind: Kind = "checkpoint" if is_whole else "denoiser"
    for first, last, layout in (("input_blocks.0.0.weight", "out.2.weight", "original"), ("conv_in.weight", "conv_out.weight", "diffusers")):
        if first in bare and last in bare and not any(key.startswith("decoder.") for key in bare):
            found = _unet(kind, layout, bare, channels=(bare[first], bare[last]))
            # A small one has a width of its own; the first models lie beside OpenAI's text encoder, the second ones beside OpenCLIP's.
            beside = {"cond_stage_model.transformer.": "sd1", "cond_stage_model.model.": "sd2"}
            said = next((family for start, family in beside.items() if any(key.startswith(start) for key in shapes)), "")
            return found if found.family else replace(found, family=said)
    mark = next((mark for mark in DENOISERS if mark.is_in(bare)), None)
    if mark is None:
        return None
    variant, is_inpainting = _variant(mark.family, bare)
    return Identity(kind, mark.family, mark.layout, variant, is_inpainting)


def _unet(kind: Kind, layout: str, bare: Shapes, *, channels: tuple[tuple[int, ...], tuple[int, ...]]) -> Identity:
    """`channels` are the shapes of its first and last convolution: what it takes beside the latents tells what it was made for."""
    (_, taken, *_), (given, *_) = channels
    width = text_width(bare)
    family = "kolors" if "encoder_hid_proj.weight" in bare and width == 2048 else UNET_OF_WIDTH.get(width or 0, "")
    # Only SDXL is told sizes and crops; a small one for tests may be as wide as another family.
    if family in ("", "sd1") and ("add_embedding.linear_1.weight" in bare or "label_emb.0.0.weight" in bare):
        family = "sdxl"
    extra = {given: "edits (InstructPix2Pix)", 3: "upscaling", 1: "depth"}.get(taken - given, "")
    return Identity(kind, family, layout, f"for {extra}" if extra else "", taken == 2 * given + 1, None if family == "kolors" else width)


def _variant(family: str, bare: Shapes) -> tuple[str, bool]:
    """Which of the models of a family, and whether it takes a mask."""
    if family == "flux1":
        taken = next((bare[key][1] for key in ("img_in.weight", "x_embedder.weight") if len(bare.get(key, ())) == 2), 64)
        is_told = any(key.startswith(("guidance_in.", "time_text_embed.guidance_embedder.")) for key in bare)
        return {64: "dev" if is_told else "schnell", 128: "for a control picture", 384: "Fill"}.get(taken, ""), taken == 384
    if family == "flux2":
        hidden = next((bare[key][0] for key in ("img_in.weight", "x_embedder.weight") if len(bare.get(key, ())) == 2), 0)
        return {3072: "klein 4B", 4096: "klein 9B", 6144: "dev"}.get(hidden, ""), False
    if family == "sd3":
        depth = sum(
            key.startswith(("joint_blocks.", "transformer_blocks.")) and key.endswith(("x_block.attn.qkv.weight", "attn.to_q.weight")) for key in bare
        )
        wide = next((bare[key][0] for key in ("x_embedder.proj.weight", "pos_embed.proj.weight") if bare.get(key)), 0)
        # 3.5 medium has a second attention in its first layers.
        has_second = any(".attn2." in key for key in bare)
        return ("3.5 large" if depth == 38 or wide == 2432 else "3.5 medium" if has_second else "3 medium" if depth == 24 else ""), False
    return "", False


def _part(shapes: Shapes) -> Identity:
    """One part of a model, or something small."""
    bare = under(part_at(VAE_AT, shapes), shapes)
    if found := _vae(bare) or _encoder(shapes):
        return found
    if any("motion_modules." in key for key in shapes):
        return Identity("unknown", goes_with="a motion module of AnimateDiff")
    if {"clip_l", "clip_g"} & shapes.keys():
        return Identity("embedding", "sdxl" if shapes.get("clip_l", (0, 768))[-1] == 768 else "")
    flat = [shape for shape in shapes.values() if len(shape) in (1, 2)]
    if "emb_params" in shapes or (len(shapes) == 1 and flat and "." not in next(iter(shapes))):
        width = (shapes.get("emb_params") or flat[0] or (0,))[-1]
        return Identity("embedding", UNET_OF_WIDTH.get(width, ""), width=width if width in UNET_OF_WIDTH else None)
    if any(
        _is_picture_filter(shapes.get(key, ())) for key in ("conv_first.weight", "model.0.weight", "body.0.weight", "params_ema.conv_first.weight")
    ):
        return Identity("upscaler")
    return Identity("unknown")


def _is_picture_filter(shape: tuple[int, ...]) -> bool:
    """A first layer that reads RGB, folded or not."""
    return len(shape) == 4 and shape[1] in (3, 12, 48)


def _vae(bare: Shapes) -> Identity | None:
    if "encoder.layers.0.weight" in bare and "decoder.layers.0.weight" in bare:
        return Identity("vae", layout="diffusers", variant="(tiny)", goes_with=_IMAGE_VAES.get(bare["decoder.layers.0.weight"][1], "one model"))
    if "decoder.middle.0.residual.0.gamma" in bare:
        return Identity("vae", layout="original", goes_with="Qwen-Image or Wan")
    if "decoder.mid_block.resnets.0.norm1.gamma" in bare:
        return Identity("vae", layout="diffusers", goes_with="Qwen-Image or Wan")
    first = bare.get("decoder.conv_in.weight", ())
    if len(first) != 4:
        return None
    layout = "diffusers" if any(key.startswith("decoder.up_blocks.") for key in bare) else "original"
    return Identity("vae", "flux2" if first[1] == 32 else "", layout, goes_with=_IMAGE_VAES.get(first[1], ""))


def _encoder(shapes: Shapes) -> Identity | None:
    def width(*endings: str) -> int:
        return next((shape[-1] for key, shape in shapes.items() if key.endswith(endings) and len(shape) == 2), 0)

    if any(key.startswith(("vision_model.", "image_encoder.", "visual.")) for key in shapes) and not width("token_embedding.weight"):
        return Identity("image encoder")
    if wide := width("embeddings.token_embedding.weight", "model.token_embedding.weight"):
        names = {256: "the starter", 768: "CLIP-L", 1024: "Stable Diffusion 2 (OpenCLIP H)", 1280: "SDXL or Stable Diffusion 3 (OpenCLIP G)"}
        return Identity("text encoder", goes_with={**names, 768: "Stable Diffusion 1, SDXL, Stable Diffusion 3 or FLUX.1 (CLIP-L)"}.get(wide, "CLIP"))
    if any(key.endswith("block.0.layer.0.SelfAttention.q.weight") for key in shapes):
        return Identity("text encoder", goes_with="Stable Diffusion 3 or FLUX.1 (T5)")
    if wide := width("model.embed_tokens.weight", "language_model.embed_tokens.weight"):
        return Identity("text encoder", goes_with=_LANGUAGE_MODELS.get(wide, "a language model"))
    return None


def part_bytes(path: Path) -> dict[str, int]:
    """Bytes of each part of a model in 16 bit, under the names of a diffusers folder."""
    if is_gguf(path):
        return {"denoiser": path.stat().st_size}
    if path.is_file():
        shapes = judge_header(path).shapes
        places = {"vae": VAE_AT, "text_encoder": TEXT_AT}
        sizes = {part: _half(shape for key, shape in shapes.items() if key.startswith(at)) for part, at in places.items()}
        whole = {"denoiser": _half(shapes.values()) - sum(sizes.values()), **sizes}
        return {part: size for part, size in whole.items() if size}
    found: dict[str, int] = {}
    for part in sorted(one for one in path.iterdir() if one.is_dir() and one.name not in _SPARE):
        _, files = chosen_weights(part)
        is_small = is_in_four_bits(part)
        if size := sum(file.stat().st_size if is_small else _half(judge_header(file).shapes.values()) for file in files):
            found[part.name] = size
    return found


def _half(shapes: Iterable[tuple[int, ...]]) -> int:
    return sum(2 * math.prod(shape) for shape in shapes)


# Folders


def _folder(folder: Path) -> Identity:
    index = _read(folder / "model_index.json")
    name = index.get("_class_name")
    if not isinstance(name, str):
        raise _refused(f"{folder.name} brings a pipeline of its own, and Easel runs no code that comes with a model.", "Choose another model.")
    for part, entry in index.items():
        if not part.startswith("_") and isinstance(entry, list):
            _check_part(folder, part, entry)
    _check_configs(folder)
    shapes = _denoiser_shapes(folder)
    found = recognise(shapes) if shapes else Identity("unknown")
    said = family_of_pipeline(name)
    if found.kind not in MODELS or not found.family:
        return Identity("checkpoint", said, "diffusers", width=found.width, goes_with="" if said else name[:60])
    # One class serves two families of UNets, and a model may be called what it was trained for.
    if said and said != found.family and {said, found.family} not in ({"sd1", "sd2"}, {"sdxl", "sdxl-refiner"}, {"flux1", "chroma"}):
        raise _refused(
            f"{folder.name} says that it is {TITLES[said]}, but its weights are {found.made_for}.", "Copy or download the whole folder again."
        )
    return Identity("checkpoint", found.family, "diffusers", found.variant, found.is_inpainting, found.width)


def _check_part(folder: Path, part: str, entry: list[Any]) -> None:
    library, name = (*entry, None, None)[:2]
    if name is None or part in _UNREAD or (part in _SPARE and not (folder / part).is_dir()):
        return
    if library not in _LIBRARIES and library != "stable_diffusion":
        raise _refused(f"The {part} of {folder.name} needs code of its own, which Easel does not run.", "Choose another model.")
    if not (folder / part).is_dir():
        raise _refused(f"The model {folder.name} has no {part}.", "Copy or download the whole folder again.")
    _check_weights(folder, part)


def _check_weights(folder: Path, part: str) -> None:
    files = list((folder / part).iterdir())
    if any(one.suffix in PICKLES for one in files) and not any(one.suffix == ".safetensors" for one in files):
        raise _refused(
            f"The {part} of {folder.name} is a pickle, which can carry a program.", "Get the version of the model with .safetensors files."
        )
    for one in files:
        if one.suffix == ".safetensors":
            judge_header(one)
        if one.name.endswith(".safetensors.index.json"):
            wanted = {str(file) for file in _read(one).get("weight_map", {}).values()}
            if gone := sorted(wanted - {file.name for file in files}):
                raise _refused(f"The {part} of {folder.name} lacks {gone[0][:80]}.", "Copy or download the whole folder again.")


def _check_configs(folder: Path) -> None:
    for path in sorted(folder.glob("*/*config.json")):
        if "auto_map" in _read(path):
            raise _refused(f"The {path.parent.name} of {folder.name} names code of its own, which Easel does not run.", "Choose another model.")
        if (problem := quantised_problem(path.parent)) is not None:
            raise _refused(f"The {path.parent.name} of {folder.name} {problem[0]}.", problem[1])


def _denoiser_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    part = next((folder / name for name in ("unet", "transformer", "prior") if (folder / name).is_dir()), None)
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(part.glob("*.safetensors")) if part else ():
        shapes |= judge_header(file).shapes
    return shapes


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _JSON_MAX:
            raise ValueError("too large")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(f"The file {path.name} of {path.parent.name} cannot be read.", "Copy or download the model again.") from error
    if not isinstance(found, dict):
        raise _refused(f"The file {path.name} of {path.parent.name} is no table of settings.", "Copy or download the model again.")
    return found


def _refused(message: str, hint: str) -> EngineError:
    return DamagedFile(message, hint, "model")
