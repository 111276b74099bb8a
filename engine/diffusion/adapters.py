"""LoRA adapters on a loaded model: in for one run, out without a trace (Hu et al. 2022)."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin
from diffusers.utils.peft_utils import delete_adapter_layers, recurse_remove_peft_layers, set_weights_and_activate_adapters
from safetensors.torch import load_file

from engine.contract.errors import DamagedFile, IncompatibleAdapter
from engine.diffusion.blocks import weigh_blocks
from engine.diffusion.loading import Components
from engine.diffusion.safetensors_header import check_header

_FILES_KEPT = 8


@dataclass(frozen=True)
class Lora:
    """An adapter's file and the weight that it gets, -2 to 2; `blocks` multiply it in parts of the denoiser (`LoraUse`)."""

    path: Path
    weight: float
    blocks: Mapping[str, float] | None = None


@dataclass(frozen=True)
class _State:
    """A file in diffusers' names: matrices by key, alphas by key, and which parts of a model they are for."""

    matrices: Mapping[str, torch.Tensor]
    alphas: Mapping[str, float] | None
    has_unet: bool
    has_text_encoder: bool


class AdapterShelf:
    """Adapter files read once and kept in CPU memory, newest last."""

    def __init__(self, kept: int = _FILES_KEPT) -> None:
        self._kept = kept
        self._states: OrderedDict[tuple[str, int, int], _State] = OrderedDict()

    @contextmanager
    def applied(self, components: Components, loras: tuple[Lora, ...]) -> Generator[bool]:
        """The model with these adapters, and whether its text encoder is changed too. Afterwards it is bit for bit what it was.

        Nothing is ever fused into the weights: adding and taking away again would leave rounding behind. Raises
        `DamagedFile` or `IncompatibleAdapter` about the control "loras", with the model untouched.
        """
        if not loras:
            yield False
            return
        states = [self._state(lora.path, components) for lora in loras]
        names = [f"easel{number}" for number in range(len(loras))]
        parts: tuple[Any, Any] = (components.unet, components.text_encoder)
        unet, text_encoder = parts
        try:
            for lora, name, state in zip(loras, names, states, strict=True):
                _attach(unet, text_encoder, name, state, lora.path.stem)
            _weigh(unet, [(name, lora.weight) for lora, name, state in zip(loras, names, states, strict=True) if state.has_unet])
            for lora, name in zip(loras, names, strict=True):
                if lora.blocks is not None:
                    weigh_blocks(unet, name, lora.weight, lora.blocks, lora.path.stem)
            spoken = [(name, lora.weight) for lora, name, state in zip(loras, names, states, strict=True) if state.has_text_encoder]
            _weigh(text_encoder, spoken)
            # What is put in is new: it has to come to where the model is, in the model's own type.
            for module in parts:
                module.to(device=components.device, dtype=components.dtype)
            yield bool(spoken)
        finally:
            for module in parts:
                _detach(module, names)

    def _state(self, path: Path, components: Components) -> _State:
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        if key not in self._states:
            self._states[key] = _read(path, components.unet.config)
            while len(self._states) > self._kept:
                self._states.popitem(last=False)
        self._states.move_to_end(key)
        return self._states[key]


def _read(path: Path, unet_config: Any) -> _State:
    try:
        check_header(path)
        raw = load_file(path)
    except (DamagedFile, OSError, ValueError) as error:
        raise DamagedFile(f"The LoRA {path.stem} is damaged or no safetensors file.", "Download it again, or mute it.", "loras") from error
    if not all(torch.isfinite(matrix).all() for matrix in raw.values()):
        raise DamagedFile(f"The LoRA {path.stem} holds values that are no numbers.", "Download it again, or mute it.", "loras")
    loader: Any = StableDiffusionLoraLoaderMixin
    try:
        found = loader.lora_state_dict(raw, unet_config=unet_config)
    except (ValueError, KeyError, IndexError, RuntimeError, AttributeError) as error:
        raise _unfit(path.stem) from error
    matrices, alphas = found[0], found[1]
    # Files of PEFT's own carry no part's name: they are for the denoiser.
    if not any(key.startswith(("unet.", "text_encoder.")) for key in matrices):
        matrices = {f"unet.{key.removeprefix('base_model.model.')}": value for key, value in matrices.items()}
    state = _State(
        matrices=matrices,
        alphas=alphas,
        has_unet=any(key.startswith("unet.") for key in matrices),
        has_text_encoder=any(key.startswith("text_encoder.") for key in matrices),
    )
    if not (state.has_unet or state.has_text_encoder):
        raise _unfit(path.stem)
    return state


def _attach(unet: Any, text_encoder: Any, name: str, state: _State, title: str) -> None:
    options: dict[str, Any] = {"network_alphas": state.alphas, "adapter_name": name}
    try:
        with warnings.catch_warnings():
            # Several adapters in one model are what we mean.
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            _put_in(unet, text_encoder, state, options)
    except (ValueError, KeyError, IndexError, RuntimeError, AttributeError) as error:
        raise _unfit(title) from error
    # A file of another family loads without a word and changes nothing; that must not pass for a picture with it.
    if state.has_unet and name not in getattr(unet, "peft_config", {}):
        raise _unfit(title)


def _put_in(unet: Any, text_encoder: Any, state: _State, options: dict[str, Any]) -> None:
    loader: Any = StableDiffusionLoraLoaderMixin
    if state.has_unet:
        loader.load_lora_into_unet(dict(state.matrices), unet=unet, **options)
    if state.has_text_encoder:
        loader.load_lora_into_text_encoder(dict(state.matrices), text_encoder=text_encoder, **options)


def _weigh(module: Any, weights: list[tuple[str, float]]) -> None:
    if weights:
        set_weights_and_activate_adapters(module, [name for name, _ in weights], [weight for _, weight in weights])


def _detach(module: Any, names: list[str]) -> None:
    """Take every adapter layer out again; the layers underneath were never changed."""
    for name in names:
        if name in getattr(module, "peft_config", {}):
            delete_adapter_layers(module, name)
    recurse_remove_peft_layers(module)
    # The libraries keep a book of what was put in; an empty one would still change how they behave.
    if hasattr(module, "peft_config"):
        del module.peft_config
    if hasattr(module, "_hf_peft_config_loaded"):
        module._hf_peft_config_loaded = False


def _unfit(title: str) -> IncompatibleAdapter:
    return IncompatibleAdapter(
        f"The LoRA {title} does not fit this model.", "Mute it, or choose a model of the family that it was made for.", "loras"
    )
