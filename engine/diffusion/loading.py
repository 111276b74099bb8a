"""A diffusers folder on disk becomes components in memory: checked first, then read, safetensors only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from engine.contract.errors import DamagedFile, ModelNotFound
from engine.diffusion.families import FAMILIES, Family
from engine.diffusion.preview import LatentToRgb
from engine.diffusion.safetensors_header import check_header
from engine.diffusion.scorer import Scorer, has_scorer, load_scorer

_MODEL_CLASSES: dict[str, Any] = {cls.__name__: cls for cls in (AutoencoderKL, AutoencoderTiny, UNet2DConditionModel, CLIPTextModel)}


@dataclass(frozen=True)
class Components:
    """A loaded model. Modules are in eval mode on `device` in `dtype` and are never changed by a run."""

    folder: Path
    family: Family
    unet: UNet2DConditionModel
    vae: AutoencoderKL | AutoencoderTiny
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler_config: dict[str, Any]
    preview: LatentToRgb
    device: torch.device
    dtype: torch.dtype

    @property
    def latent_channels(self) -> int:
        return int(self.vae.config["latent_channels"])

    @property
    def is_inpainting(self) -> bool:
        """Whether the denoiser also takes a mask and the masked picture, as inpainting checkpoints do."""
        return int(self.unet.config["in_channels"]) == 2 * self.latent_channels + 1

    @property
    def encodes_by_chance(self) -> bool:
        """Whether encoding draws from a generator: a variational encoder does, a plain one does not."""
        return isinstance(self.vae, AutoencoderKL)

    @cached_property
    def scorer(self) -> Scorer | None:
        """What scores pictures for this model: its own, or a CLIP model in its folder `clip`. Loaded at the first look; None where there is none."""
        found = next((folder for folder in (self.folder, self.folder / "clip") if has_scorer(folder)), None)
        if found is None:
            return None
        # Gradients go through it, also where the first look comes out of a run without any.
        with torch.inference_mode(False):
            return load_scorer(found, device=self.device)

    @property
    def vae_scale(self) -> int:
        """Pixels per latent along an edge."""
        return 2 ** (len(_channels(self.vae)) - 1)


def load_components(folder: Path, *, device: torch.device, dtype: torch.dtype) -> Components:
    """Load a model folder. Raises `DamagedFile` or `ModelNotFound` before the device is touched."""
    index, own, family = check_model(folder)
    modules = {name: _load(folder / name, index[name][1], dtype).to(device) for name in ("unet", "vae", "text_encoder")}
    if device.type == "cpu":
        # Convolutions in bfloat16 are quicker in this layout on CPU; values are the same.
        modules["unet"].to(memory_format=torch.channels_last)
        modules["vae"].to(memory_format=torch.channels_last)
    return Components(
        folder=folder,
        family=family,
        unet=modules["unet"],
        vae=modules["vae"],
        text_encoder=modules["text_encoder"],
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        scheduler_config=_read_json(folder / "scheduler" / "scheduler_config.json"),
        preview=LatentToRgb.for_model(family, own.get("preview")),
        device=device,
        dtype=dtype,
    )


def check_model(folder: Path) -> tuple[dict[str, Any], dict[str, Any], Family]:
    """What a folder says about itself: `model_index.json`, `easel.json`, family. Takes milliseconds. Raises `DamagedFile` or `ModelNotFound`."""
    index = _read_json(folder / "model_index.json")
    own = _read_json(folder / "easel.json") if (folder / "easel.json").is_file() else {}
    family = FAMILIES.get(own.get("family", "sd1"))
    if family is None:
        raise ModelNotFound(f"The model {folder.name} is of a family that Easel does not know.", "Choose another model.", "model")
    _check_classes(folder, index, family)
    for file in sorted(folder.rglob("*.safetensors")):
        check_header(file)
    return index, own, family


def _load(folder: Path, class_name: str, dtype: torch.dtype) -> Any:
    cls = _MODEL_CLASSES[class_name]
    words = {"dtype": dtype} if class_name == "CLIPTextModel" else {"torch_dtype": dtype}
    try:
        return cls.from_pretrained(folder, local_files_only=True, use_safetensors=True, **words).eval().requires_grad_(False)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise DamagedFile(f"The {folder.name} of {folder.parent.name} cannot be loaded.", "Copy or download the model again.", "model") from error


def _check_classes(folder: Path, index: dict[str, Any], family: Family) -> None:
    """Only classes of the family's row are ever named to a library; a config cannot bring code of its own."""
    for name, accepted in family.components.items():
        entry = index.get(name)
        if not isinstance(entry, list) or len(entry) != 2 or entry[1] not in accepted or not (folder / name).is_dir():
            raise DamagedFile(f"The model {folder.name} has no usable {name}.", "Copy or download the whole folder again.", "model")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedFile(f"The file {path.name} of {path.parent.name} cannot be read.", "Copy or download the model again.", "model") from error


def _channels(vae: AutoencoderKL | AutoencoderTiny) -> tuple[int, ...]:
    return vae.config["block_out_channels"] if isinstance(vae, AutoencoderKL) else vae.config["encoder_block_out_channels"]
