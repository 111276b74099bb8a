"""The parts of a model that lie in one checkpoint file: diffusers' own key conversion, checked on shapes before a byte of weights is read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint, convert_open_clip_checkpoint
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.quantizers.quantization_config import GGUFQuantizationConfig
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from engine.contract.errors import DamagedFile
from engine.contract.memory import Packing
from engine.diffusion.device import unless_memory_ran_out
from engine.diffusion.packing import pack, reading_dtype
from engine.diffusion.reading import one_at_a_time
from engine.weights.byte_pairs import CLIP_ROOM, END, clip_pairs
from engine.weights.fingerprints import under
from engine.weights.layouts import Cut, in_diffusers_names
from engine.weights.scales import is_beside, scale_of
from engine.weights.single_files import SingleFile, is_gguf, judge_file, own_file, read_single_file

log = logging.getLogger("easel.single_file")
Tensors = Mapping[str, torch.Tensor]
# OpenCLIP fills up with the first token of the list, OpenAI with the end.
_OPEN_CLIP_PAD = "!"
# What differs between the transformers of one family, beyond the folder that a file borrows from.
_OWN_SETTINGS = ("guidance_embeds", "zero_cond_t")
# Tensors without weights, by which a file says what it is.
_MARK = "__"


def check_parts(file: SingleFile) -> None:
    """Whether every part comes out whole: its layers by name and size. Raises `DamagedFile`; nothing is read but the header."""
    stat = file.path.stat()
    _check(file.path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=16)
def _check(path: Path, _size: int, _mtime: int) -> None:
    # An error is not remembered: what is mended is looked at again.
    file, shapes = read_single_file(path), judge_file(path).shapes
    for part, start in file.inside.items():
        if part == "transformer":
            _fitted(file)
        else:
            tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items() if name.startswith(start) and not is_beside(name)}
            make_part(file.path, part, file.settings[part], _bare(tensors, start))


def load_part(file: SingleFile, part: str, *, dtype: torch.dtype, packing: Packing | None = None) -> Any:
    """A module on the CPU, in eval mode. Raises `DamagedFile`."""
    if part == "transformer":
        return _load_transformer(file, dtype, packing)
    tensors = _read(file.path, file.inside[part], dtype, is_as_stored=packing == "nf4")
    return pack(make_part(file.path, part, file.settings[part], tensors), packing, dtype)


def load_vae(path: Path, start: str, settings: Mapping[str, Any], *, dtype: torch.dtype) -> Any:
    """The same for a VAE that lies in a file of its own, its names beginning with `start`."""
    return make_part(path, "vae", settings, _read(path, start, dtype))


def _read(path: Path, start: str, dtype: torch.dtype, *, is_as_stored: bool = False) -> Tensors:
    """Tensors by the names that follow `start`, in `dtype`.

    `is_as_stored`: what has no scale beside it stays a view of the file, in the type that it has there. What 4 bits are made of takes no
    memory so, until its turn comes.
    """
    with safe_open(path, framework="pt", device="cpu") as stored:
        names = list(stored.keys())
        known = frozenset(names)
        names = [name for name in names if name.startswith(start) and _is_weight(name.removeprefix(start))]
        found: dict[str, torch.Tensor] = {}
        for name in names:
            scale, value = scale_of(name, known), stored.get_tensor(name)
            if scale is not None:
                value = _scaled(value, stored.get_tensor(scale))
            found[name] = value if is_as_stored and scale is None else value.to(dtype)
        return _bare(found, start)


def _is_weight(name: str) -> bool:
    return not name.startswith(_MARK) and not is_beside(name)


def _scaled(value: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """A tensor as it was before it was divided to fit into 8 bits, float32."""
    factor = scale.float()
    return value.float() * (factor if factor.numel() == 1 else factor.view(-1, *(1,) * (value.ndim - 1)))


@one_at_a_time
def _load_transformer(file: SingleFile, dtype: torch.dtype, packing: Packing | None) -> Any:
    """The denoiser of a file, with the settings of the folder that it borrows from. Quantised numbers stay as they are until they are used."""
    assert file.base is not None
    cuts, empty = _fitted(file)
    settings = file.settings["transformer"]
    changed = {name: settings[name] for name in _OWN_SETTINGS if name in settings}
    options: dict[str, Any] = {"config": str(file.base), "subfolder": "transformer", "local_files_only": True, **changed}
    try:
        if is_gguf(file.path):
            # What is quantised already is not quantised once more.
            options["quantization_config"] = GGUFQuantizationConfig(compute_dtype=dtype)
            packing, stored = None, _read_gguf(file, cuts, empty)
        else:
            stored = _cut(cuts, _read(file.path, file.inside["transformer"], dtype, is_as_stored=packing == "nf4"))
            # Unless it is told, everything becomes float32.
            options["torch_dtype"] = reading_dtype(packing, dtype, stored.values())
        # Under these names diffusers converts nothing.
        module = type(empty).from_single_file(_reshaped(stored, empty), **options)
    except (OSError, KeyError, ValueError, IndexError, RuntimeError, TypeError, StopIteration) as error:
        unless_memory_ran_out(error)
        raise _unfit_base(file) from error
    if any(tensor.is_meta for tensor in module.state_dict().values()):
        raise _unfit_base(file)
    return pack(module.eval().requires_grad_(False), packing, dtype)


@one_at_a_time
def _fitted(file: SingleFile) -> tuple[dict[str, Cut], Any]:
    """Where every tensor of the denoiser lies in its file, by diffusers' names, and the module without weights. Raises `DamagedFile`; reads the header only."""
    start = file.inside["transformer"]
    shapes = {name: shape for name, shape in under(start, judge_file(file.path).shapes).items() if _is_weight(name)}
    # As the index of the folder names it, which was held against the table of the family.
    make: Any = getattr(import_module("diffusers"), file.settings["model_index"]["transformer"][1])
    try:
        cuts = in_diffusers_names(file.family, shapes)
        with init_empty_weights():
            module = make.from_config(file.settings["transformer"])
    except (KeyError, ValueError, IndexError, RuntimeError, TypeError) as error:
        raise _unfit_base(file) from error
    wanted = module.state_dict()
    for name, tensor in wanted.items():
        if name not in cuts:
            raise _unfit_base(file, f"it has no {name}")
        if _sides(cuts[name].shape(shapes)) != _sides(tensor.shape):
            raise _unfit_base(file, f"its {name} has another size")
    if strangers := sorted(cuts.keys() - wanted.keys()):
        log.warning("%s: %d of its tensors are of no use to its model, %s among them", file.path.name, len(strangers), strangers[0][:80])
    return {name: cuts[name] for name in wanted}, module


def _sides(shape: Sequence[int]) -> tuple[int, ...]:
    """Without those of 1 at the front: some programs that write GGUF leave them out."""
    first = next((number for number, side in enumerate(shape) if side != 1), len(shape))
    return tuple(shape[first:])


def _cut(cuts: Mapping[str, Cut], stored: Tensors) -> dict[str, torch.Tensor]:
    """What lies in one stretch stays where it lies; nothing is copied."""
    found: dict[str, torch.Tensor] = {}
    for name, cut in cuts.items():
        whole = stored[cut.source]
        stretches = [whole[start:end] for start, end in cut.rows]
        found[name] = whole if not stretches else stretches[0] if len(stretches) == 1 else torch.cat(stretches)
    return found


def _reshaped(stored: Tensors, module: Any) -> dict[str, torch.Tensor]:
    wanted = module.state_dict()
    return {name: value.view(wanted[name].shape) if value.numel() == wanted[name].numel() else value for name, value in stored.items()}


def _read_gguf(file: SingleFile, cuts: Mapping[str, Cut], module: Any) -> dict[str, torch.Tensor]:
    """Weights of linear layers as they lie there. Whatever else is quantised is not: diffusers' layers of other kinds take its bytes for numbers."""
    from diffusers.models.model_loading_utils import load_gguf_checkpoint
    from diffusers.quantizers.gguf.utils import GGUFParameter, dequantize_gguf_tensor

    def is_kept(name: str) -> bool:
        layer, _, kind = name.rpartition(".")
        return kind == "weight" and isinstance(module.get_submodule(layer), torch.nn.Linear)

    def opened(value: Any) -> torch.Tensor:
        return dequantize_gguf_tensor(value).as_subclass(torch.Tensor) if isinstance(value, GGUFParameter) else value

    stored = _bare(load_gguf_checkpoint(str(file.path), return_tensors=True), file.inside["transformer"])
    # Numbers of a vector are no rows once they are packed.
    rows = {name: value if value.ndim > 1 else opened(value) for name, value in stored.items()}
    return {name: value if is_kept(name) else opened(value) for name, value in _cut(cuts, rows).items()}


def clip_tokenizer(*, is_open: bool) -> Any:
    """The tokenizer of a CLIP text encoder that came without one; `is_open`: of one of OpenCLIP's."""
    vocabulary, merges = clip_pairs()
    pad = _OPEN_CLIP_PAD if is_open else END
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=pad, model_max_length=CLIP_ROOM)  # pyright: ignore[reportArgumentType]


@one_at_a_time
def make_part(path: Path, part: str, settings: Mapping[str, Any], tensors: Tensors) -> Any:
    """A module of these settings and weights, which carry their original names. Raises `DamagedFile` where the two do not go together."""
    make, convert = _PARTS[part]
    try:
        with init_empty_weights():
            module = make(dict(settings))
        found = convert(module, tensors)
    except (KeyError, ValueError, IndexError, RuntimeError, TypeError) as error:
        raise _unfit(path, part) from error
    wanted = module.state_dict()
    if any(name not in found or found[name].shape != tensor.shape for name, tensor in wanted.items()):
        raise _unfit(path, part)
    module.load_state_dict({name: found[name] for name in wanted}, assign=True)
    return module.eval().requires_grad_(False)


def _bare(tensors: Tensors, start: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(start): tensor for name, tensor in tensors.items()}


def _unet(module: Any, tensors: Tensors) -> Tensors:
    return convert_ldm_unet_checkpoint(_under("model.diffusion_model.", tensors), module.config)


def _vae(module: Any, tensors: Tensors) -> Tensors:
    if "encoder.down_blocks.0.resnets.0.conv1.weight" in tensors:
        return tensors
    return convert_ldm_vae_checkpoint(_under("first_stage_model.", tensors), module.config)


def _clip(module: Any, tensors: Tensors) -> Tensors:
    tensors = _open_clip(module, tensors) if "token_embedding.weight" in tensors else tensors
    return {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}


def _open_clip(module: Any, tensors: Tensors) -> Tensors:
    return convert_open_clip_checkpoint(module, _under("clip.", tensors), prefix="clip.")


def _under(start: str, tensors: Tensors) -> dict[str, torch.Tensor]:
    return {start + name: tensor for name, tensor in tensors.items()}


_PARTS: dict[str, tuple[Callable[[dict[str, Any]], Any], Callable[[Any, Tensors], Tensors]]] = {
    "unet": (UNet2DConditionModel.from_config, _unet),
    "vae": (AutoencoderKL.from_config, _vae),
    "text_encoder": (lambda settings: CLIPTextModel(CLIPTextConfig(**settings)), _clip),
    "text_encoder_2": (lambda settings: CLIPTextModelWithProjection(CLIPTextConfig(**settings)), _open_clip),
}


def _unfit_base(file: SingleFile, why: str = "") -> DamagedFile:
    base = file.base.name if file.base else ""
    hint = f"Get the whole model as a folder, or name another folder as base in {own_file(file.path).name}."
    return DamagedFile(f"The denoiser in {file.path.name} does not go with the rest of {base}{why and f': {why}'}.", hint, "model")


def _unfit(path: Path, part: str) -> DamagedFile:
    name = part.removesuffix("_2").replace("_", " ").replace("vae", "VAE")
    return DamagedFile(
        f"The {name} in {path.name} cannot be loaded: layers are missing, or have an odd size.", "Copy or download the file again.", "model"
    )
