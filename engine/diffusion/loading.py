"""A diffusers folder or a single file on disk becomes components in memory: checked first, then read, safetensors only."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from engine.contract.editing import EDITORS, Editor, editor_name
from engine.contract.errors import DamagedFile, ModelNotFound
from engine.contract.families import family_of
from engine.contract.memory import Packing, Plan, is_text_encoder, packed, packed_parts
from engine.diffusion.device import unless_memory_ran_out
from engine.diffusion.families import FAMILIES, Denoiser, Family
from engine.diffusion.four_bit_files import read_module, with_own_layers
from engine.diffusion.packing import check_packing, lies_packed, pack, reading_dtype, reading_words, stored_tensors
from engine.diffusion.parts import Part, Stay
from engine.diffusion.preview import NO_PREVIEW, LatentToRgb, measure_preview
from engine.diffusion.reading import one_at_a_time
from engine.diffusion.residency import Place, Residency
from engine.diffusion.scorer import Scorer, has_scorer, load_networks, load_scorer, scorer_bytes
from engine.diffusion.voices import Voice
from engine.weights.headers import judge_header
from engine.weights.quantised import is_in_four_bits
from engine.weights.single_files import OPEN_CLIP, SingleFile, files_of, is_gguf, is_single_file, read_single_file
from engine.weights.stamps import Stamp, stamps
from engine.weights.variants import chosen_weights, files_under

# Where the classes live that a model may name. Imported when one is needed: the starter's first second must not pay for all.
_AUTOENCODERS, _TRANSFORMERS = "diffusers.models.autoencoders", "diffusers.models.transformers"
_DIFFUSERS = {
    "AutoencoderKL": f"{_AUTOENCODERS}.autoencoder_kl",
    "AutoencoderKLFlux2": f"{_AUTOENCODERS}.autoencoder_kl_flux2",
    "AutoencoderKLQwenImage": f"{_AUTOENCODERS}.autoencoder_kl_qwenimage",
    "AutoencoderTiny": f"{_AUTOENCODERS}.autoencoder_tiny",
    "FluxTransformer2DModel": f"{_TRANSFORMERS}.transformer_flux",
    "Flux2Transformer2DModel": f"{_TRANSFORMERS}.transformer_flux2",
    "QwenImageTransformer2DModel": f"{_TRANSFORMERS}.transformer_qwenimage",
    "SD3Transformer2DModel": f"{_TRANSFORMERS}.transformer_sd3",
    "UNet2DConditionModel": "diffusers.models.unets.unet_2d_condition",
    "ZImageTransformer2DModel": f"{_TRANSFORMERS}.transformer_z_image",
}
# What a scorer is called beside the parts of a model.
SCORER = "scorer"


@dataclass(frozen=True)
class Components:
    """A loaded model. Modules are in eval mode on `device` in `dtype` and are never changed by a run.

    `folder` is where it lies, a single file too. `parts` are its modules and tokenizers by their names in `model_index.json`.
    Where there is a `stay`, modules come and go within a budget: whoever calls one says so first, with `use`.
    """

    folder: Path
    family: Family
    parts: Mapping[str, Any]
    voice: Voice
    scheduler_config: dict[str, Any]
    preview: LatentToRgb
    device: torch.device
    dtype: torch.dtype
    stay: Stay | None = None
    # The files that it was read from, as they were before that.
    read_from: tuple[Stamp, ...] = ()
    # How it looks at pictures beside the sentence; None for a model that cannot edit.
    editor: Editor | None = None
    # What was read at its first use, shared with a model that differs only for one run.
    found: dict[str, Scorer | None] = field(default_factory=dict)

    def use(self, *names: str) -> None:
        """Bring these parts, all of one stage of a run, to where they work."""
        if self.stay is not None:
            self.stay.use(names)

    @property
    def encoders(self) -> tuple[str, ...]:
        """The names of the parts that read words."""
        return tuple(name for name, part in self.parts.items() if is_text_encoder(name) and isinstance(part, torch.nn.Module))

    @property
    def network(self) -> Any:
        """The denoiser's module."""
        return self.parts[self.family.network]

    @property
    def unet(self) -> Any:
        """The denoiser of a family that has a UNet: adapters and controls are made for its blocks."""
        return self.parts["unet"]

    @property
    def vae(self) -> Any:
        return self.parts["vae"]

    @property
    def text_encoder(self) -> Any:
        return self.parts["text_encoder"]

    @property
    def tokenizer(self) -> Any:
        return self.parts["tokenizer"]

    @property
    def denoiser(self) -> Denoiser:
        return Denoiser(self.network, self.family.predict, self.family.settle, partial(self.use, self.family.network))

    @property
    def latent_channels(self) -> int:
        return self.family.latents.channels(self.vae)

    @property
    def is_inpainting(self) -> bool:
        """Whether the denoiser also takes a mask and the masked picture, as inpainting checkpoints do."""
        return self.family.network == "unet" and int(self.unet.config["in_channels"]) == 2 * self.latent_channels + 1

    @property
    def encodes_by_chance(self) -> bool:
        """Whether encoding draws from a generator: a variational encoder does, a plain one does not."""
        return self.family.latents.draws(self.vae)

    @property
    def scorer(self) -> Scorer | None:
        """What scores pictures for this model: its own, or a CLIP model in its folder `clip`. Loaded at the first look; None where there is none."""
        if "scorer" not in self.found:
            self.found["scorer"] = self._read_scorer()
        return self.found["scorer"]

    def _read_scorer(self) -> Scorer | None:
        found = next((folder for folder in (self.folder, self.folder / "clip") if has_scorer(folder)), None)
        if found is None:
            return None
        # Gradients go through it, also where the first look comes out of a run without any.
        with torch.inference_mode(False):
            if self.stay is not None:
                self.stay.make_room(scorer_bytes(found))
            scorer = load_scorer(found, device=self.device)
        if self.stay is not None:
            self.stay.hold(SCORER, scorer.networks, lambda device: load_networks(found, device=device), is_own=True)
        return scorer

    @property
    def vae_scale(self) -> int:
        """Pixels per latent along an edge."""
        return self.family.latents.scale(self.vae)


def load_components(
    folder: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    residency: Residency | None = None,
    plan: Plan = "whole",
    packing: Packing | None = None,
) -> Components:
    """Load a model folder or file, each part where `plan` has it, the large ones quantised as `packing` says.

    Raises `DamagedFile`, `ModelNotFound` or `InvalidRequest` before the device is touched.
    """
    check_packing(packing)
    read_from = stamps(files_of(folder))
    checked = check_model(folder)
    index, own, family, file = checked.index, checked.own, checked.family, checked.file
    # Who names no budget has all the room there is.
    residency = residency or Residency(device_bytes=sys.maxsize, host_bytes=None)
    parts, stay = _load_parts(folder, checked, device, dtype, residency, plan, packing)
    preview = LatentToRgb.known(family, own.get("preview"), family.latents.channels(parts["vae"])) if "vae" in parts else NO_PREVIEW
    if preview is None:
        stay.use(["vae"])
        preview = measure_preview(family.latents, parts["vae"])
    return Components(
        folder=folder,
        family=family,
        parts=parts,
        voice=family.voice(parts, {**family.settings, **{name: index[name] for name in family.settings if name in index}}),
        scheduler_config=_read_json(folder / "scheduler" / "scheduler_config.json") if file is None else file.settings["scheduler"],
        preview=preview,
        device=device,
        dtype=dtype,
        stay=stay,
        read_from=read_from,
        editor=EDITORS.get(editor_name(index)),
    )


def _load_parts(
    folder: Path, checked: Checked, device: torch.device, dtype: torch.dtype, residency: Residency, plan: Plan, packing: Packing | None
) -> tuple[dict[str, Any], Stay]:
    """Everything is read once. What the plan does not want on the device leaves it before the next part comes."""
    parts: dict[str, Any] = {}
    kept: dict[str, Part] = {}
    sizes, network, is_split = checked.sizes(dtype, packing), checked.family.network, residency.is_split
    smaller: dict[str, Packing | None] = dict.fromkeys(packed_parts(checked.sizes(dtype)), packing)
    if plan == "in 8 bits":
        smaller = {network: "fp8"}
    # What is quantised already is not quantised once more.
    smaller = {name: one for name, one in smaller.items() if name not in checked.small}
    first: Place = "device" if plan == "whole" or not is_split else "host"
    weights: Packing | None = None
    try:
        for name in checked.parts:
            source = _load if checked.file is None else partial(_load_from, checked.file)
            load = partial(source, folder / name, checked.index[name][1], dtype, packing=smaller.get(name))
            if name in sizes:
                residency.make_room(sizes[name], place=first, kept=[(str(folder), one) for one in kept])
            parts[name] = load(device if first == "device" else torch.device("cpu"))
            if isinstance(parts[name], torch.nn.Module):
                # Not all that a plan would make smaller can be.
                if (wanted := smaller.get(name)) is not None and lies_packed(parts[name], wanted):
                    weights = wanted
                kept[name] = Part(parts[name], load, device, place=first)
                residency.hold((str(folder), name), kept[name])
                if plan == "one part at a time" or (plan == "in 8 bits" and not is_split):
                    residency.rest([(str(folder), name)])
        if plan == "in pieces" or (plan == "in 8 bits" and is_split):
            kept[network].stream()
    except BaseException:
        residency.forget((str(folder), name) for name in kept)
        raise
    return parts, Stay(residency, str(folder), kept, network, plan, packing, weights)


@dataclass(frozen=True)
class Checked:
    """What a folder says about itself: `model_index.json`, `easel.json`, its family and the names of the parts to load."""

    index: dict[str, Any]
    own: dict[str, Any]
    family: Family
    parts: list[str]
    # Numbers in the weights of each part, where they are known.
    counts: Mapping[str, int]
    # What it is where it is no folder.
    file: SingleFile | None = None
    # Bytes of the parts that lie in 4 bits in the folder itself.
    small: Mapping[str, int] = field(default_factory=dict[str, int])

    def sizes(self, dtype: torch.dtype, packing: Packing | None = None) -> dict[str, int]:
        """Bytes of each part in memory."""
        is_small = self.file is not None and is_gguf(self.file.path)
        return {**packed({name: count * dtype.itemsize for name, count in self.counts.items()}, None if is_small else packing), **self.small}


def check_model(folder: Path) -> Checked:
    """Takes milliseconds and loads nothing. Raises `DamagedFile` or `ModelNotFound`."""
    if is_single_file(folder):
        return _check_file(folder)
    index = _read_json(folder / "model_index.json")
    own = _read_json(folder / "easel.json") if (folder / "easel.json").is_file() else {}
    family = _family(folder, index, own)
    parts = _check_classes(folder, index, family)
    counts: dict[str, int] = {}
    for file in files_under(folder, (".safetensors",)):
        judge_header(file)
    for name in parts:
        if files := chosen_weights(folder / name)[1]:
            counts[name] = sum(math.prod(shape) for file in files for shape in judge_header(file).shapes.values())
    small = {name: sum(file.stat().st_size for file in (folder / name).glob("*.safetensors")) for name in parts if is_in_four_bits(folder / name)}
    return Checked(index, own, family, parts, counts, small=small)


def _check_file(path: Path) -> Checked:
    from engine.diffusion.single_file import check_parts

    file = read_single_file(path)
    counts = dict(check_model(file.base).counts) if file.base is not None else {}
    check_parts(file)
    if is_gguf(path):
        # Quantised numbers stay as small as they lie there; the others count two bytes each.
        counts["transformer"] = path.stat().st_size // 2
    else:
        shapes = judge_header(path).shapes
        counts |= {part: sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(at)) for part, at in file.inside.items()}
    family, index = FAMILIES[file.family], file.settings["model_index"]
    names = [name for name in family.components if name != "scheduler" and index.get(name) not in (None, [None, None])]
    parts = [name for name in names if name != "vae" or not file.wants_vae]
    return Checked(index, {}, family, parts, {name: count for name, count in counts.items() if name in parts}, file)


def _family(folder: Path, index: dict[str, Any], own: dict[str, Any]) -> Family:
    facts = family_of(index)
    family = FAMILIES.get(own.get("family", facts.key if facts else ""))
    if family is None:
        kind = str(index.get("_class_name", "of no kind"))[:60]
        raise ModelNotFound(f"The model {folder.name} ({kind}) is of a family that Easel does not know.", "Choose another model.", "model")
    return family


def _load_from(file: SingleFile, folder: Path, class_name: str, dtype: torch.dtype, device: torch.device, *, packing: Packing | None = None) -> Any:
    """A part of a single file, or of the folder that it borrows from."""
    from engine.diffusion.single_file import clip_tokenizer, load_part

    name = folder.name
    if name in file.inside:
        return settled(load_part(file, name, dtype=dtype, packing=packing).to(device), class_name)
    if "Tokenizer" in class_name and (start := file.inside.get(name.replace("tokenizer", "text_encoder"))) is not None:
        return clip_tokenizer(is_open=start.endswith(OPEN_CLIP))
    assert file.base is not None
    return _load(file.base / name, class_name, dtype, device, packing=packing)


@one_at_a_time
def _load(folder: Path, class_name: str, dtype: torch.dtype, device: torch.device, *, packing: Packing | None = None) -> Any:
    # Only names of the family's table come this far.
    is_ours = class_name in _DIFFUSERS
    # The library has dropped the word that told its quick tokenizers from slow ones; folders still have it.
    cls: Any = getattr(import_module(_DIFFUSERS.get(class_name, "transformers")), class_name.removesuffix("Fast"))
    try:
        if class_name.endswith(("Tokenizer", "TokenizerFast", "Processor")):
            return cls.from_pretrained(folder, local_files_only=True)
        if is_in_four_bits(folder):
            # Read on the CPU in any case: layers become small one after the other.
            module = (
                read_module(cls, folder, dtype)
                if is_ours
                else with_own_layers(cls.from_pretrained(folder, local_files_only=True, dtype=dtype), dtype)
            )
            return settled(module.eval().requires_grad_(False).to(device), class_name)
        variant, files = chosen_weights(folder)
        read_in = reading_dtype(packing, dtype, stored_tensors(files))
        words = {"torch_dtype" if is_ours else "dtype": read_in, "use_safetensors": True, **reading_words(packing, is_ours=is_ours)}
        words |= {"variant": variant} if variant else {}
        module = cls.from_pretrained(folder, local_files_only=True, **words).eval().requires_grad_(False)
        if packing in ("fp8", "nf4"):
            module = pack(module, packing, dtype)
        module = module.to(device)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        unless_memory_ran_out(error)
        raise DamagedFile(f"The {folder.name} of {folder.parent.name} cannot be loaded.", "Copy or download the model again.", "model") from error
    return settled(module, class_name)


def settled(module: Any, class_name: str) -> Any:
    """The module in the memory layout that is quickest where it is."""
    if module.device.type == "cpu" and class_name in ("UNet2DConditionModel", "AutoencoderKL", "AutoencoderTiny"):
        # Convolutions in bfloat16 are quicker in this layout on CPU; values are the same.
        module.to(memory_format=torch.channels_last)
    return module


def _check_classes(folder: Path, index: dict[str, Any], family: Family) -> list[str]:
    """The names of the parts to load. Only classes of the family's row are ever named to a library; a config cannot bring code of its own."""
    names: list[str] = []
    for name, accepted in family.components.items():
        entry = index.get(name)
        if name in family.optional and (entry is None or entry == [None, None]):
            continue
        if not isinstance(entry, list) or len(entry) != 2 or entry[1] not in accepted or not (folder / name).is_dir():
            raise DamagedFile(f"The model {folder.name} has no usable {name}.", "Copy or download the whole folder again.", "model")
        names.append(name)
    return [name for name in names if name != "scheduler"]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedFile(f"The file {path.name} of {path.parent.name} cannot be read.", "Copy or download the model again.", "model") from error
