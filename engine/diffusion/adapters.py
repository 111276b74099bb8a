"""LoRA adapters on a loaded model: in for one run, out without a trace (Hu et al. 2022)."""

from __future__ import annotations

import inspect
import warnings
from collections import OrderedDict
from collections.abc import Generator, Hashable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import lora_pipeline
from diffusers.utils.peft_utils import delete_adapter_layers, recurse_remove_peft_layers, set_weights_and_activate_adapters
from safetensors.torch import load_file

from engine.contract.errors import DamagedFile, IncompatibleAdapter
from engine.diffusion.blocks import weigh_blocks
from engine.diffusion.loading import Components
from engine.weights.headers import judge_header

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
    parts: frozenset[str]


class AdapterShelf:
    """Adapter files read once and kept in CPU memory, newest last."""

    def __init__(self, kept: int = _FILES_KEPT) -> None:
        self._kept = kept
        self._states: OrderedDict[tuple[str, int, int, str], _State] = OrderedDict()

    @contextmanager
    def applied(self, components: Components, loras: tuple[Lora, ...]) -> Generator[tuple[Hashable, ...]]:
        """The model with these adapters, and by what its text encoders are changed too. Afterwards it is bit for bit what it was.

        Nothing is ever fused into the weights: adding and taking away again would leave rounding behind. Raises
        `DamagedFile` or `IncompatibleAdapter` about the control "loras", with the model untouched.
        """
        if not loras:
            yield ()
            return
        states = [self._state(lora.path, components) for lora in loras]
        names = [f"easel{number}" for number in range(len(loras))]
        network, reader = components.family.network, components.family.loras
        assert reader is not None
        modules: dict[str, Any] = {part: components.parts[part] for part in (network, *reader.encoders)}
        try:
            for lora, name, state in zip(loras, names, states, strict=True):
                _attach(components, modules, name, state, lora.path.stem)
            for part, module in modules.items():
                _weigh(module, [(name, lora.weight) for lora, name, state in zip(loras, names, states, strict=True) if part in state.parts])
            for lora, name in zip(loras, names, strict=True):
                if lora.blocks is not None:
                    weigh_blocks(modules[network], name, lora.weight, lora.blocks, lora.path.stem)
            for module in modules.values():
                _settle(module, components)
            yield tuple((_key(lora.path), lora.weight) for lora, state in zip(loras, states, strict=True) if state.parts - {network})
        finally:
            for module in modules.values():
                _detach(module, names)

    def _state(self, path: Path, components: Components) -> _State:
        # Names are read in the way of a family; the same file may be asked of two.
        key = (*_key(path), components.family.key)
        if key not in self._states:
            self._states[key] = _read(path, components)
            while len(self._states) > self._kept:
                self._states.popitem(last=False)
        self._states.move_to_end(key)
        return self._states[key]


def _key(path: Path) -> tuple[str, int, int]:
    """A file as it is now."""
    stat = path.stat()
    return (str(path), stat.st_size, stat.st_mtime_ns)


def _settle(module: Any, components: Components) -> None:
    """What was put in is new: it has to come to where the model works, in the type that it works in. The model's own weights stay where they are.

    Those of a quantised one could not even be cast.
    """
    for name, parameter in module.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(device=components.device, dtype=components.dtype)


def _read(path: Path, components: Components) -> _State:
    try:
        judge_header(path)
        raw = load_file(path)
    except (DamagedFile, OSError, ValueError) as error:
        raise DamagedFile(f"The LoRA {path.stem} is damaged or no safetensors file.", "Download it again, or mute it.", "loras") from error
    if not all(torch.isfinite(matrix).all() for matrix in raw.values()):
        raise DamagedFile(f"The LoRA {path.stem} holds values that are no numbers.", "Download it again, or mute it.", "loras")
    network, loader = components.family.network, _loader(components)
    options: dict[str, Any] = {"unet_config": components.unet.config} if network == "unet" else {}
    if "return_alphas" in inspect.signature(loader.lora_state_dict).parameters:
        options["return_alphas"] = True
    try:
        found = loader.lora_state_dict(raw, **options)
    except (ValueError, KeyError, IndexError, RuntimeError, AttributeError) as error:
        raise _unfit(path.stem) from error
    matrices, alphas = (found[0], found[1]) if isinstance(found, tuple) else (found, None)
    # Files of PEFT's own carry no part's name: they are for the denoiser.
    if not any(key.startswith((f"{network}.", "text_encoder")) for key in matrices):
        matrices = {f"{network}.{key.removeprefix('base_model.model.')}": value for key, value in matrices.items()}
    known = {network, *(components.family.loras.encoders if components.family.loras else ())}
    parts = frozenset(part for part in known if any(key.startswith(f"{part}.") for key in matrices))
    if not parts:
        raise _unfit(path.stem)
    return _State(matrices=matrices, alphas=alphas, parts=parts)


def _loader(components: Components) -> Any:
    reader = components.family.loras
    if reader is None:
        message = f"{components.family.title} takes no LoRAs."
        raise IncompatibleAdapter(message, "Mute them, or choose another model.", "loras")
    return getattr(lora_pipeline, reader.name)


def _check_layers(network: Any, prefix: str, state: _State, title: str) -> None:
    """Raises `IncompatibleAdapter` where the file changes layers that the denoiser does not have: PEFT passes over those without a word."""
    named = {key.removeprefix(f"{prefix}.").split(".lora_A.")[0] for key in state.matrices if key.startswith(f"{prefix}.") and ".lora_A." in key}
    layers = {layer for layer, _ in network.named_modules()}
    if missing := named - layers:
        message = f"{len(missing)} of the {len(named)} layers that the LoRA {title} changes do not exist in this model."
        raise IncompatibleAdapter(message, "Mute it, or choose a model of the family that it was made for.", "loras")


def _attach(components: Components, modules: dict[str, Any], name: str, state: _State, title: str) -> None:
    _check_layers(modules[components.family.network], components.family.network, state, title)
    try:
        with warnings.catch_warnings():
            # Several adapters in one model are what we mean.
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            _put_in(components, modules, name, state)
    except (ValueError, KeyError, IndexError, RuntimeError, AttributeError) as error:
        raise _unfit(title) from error
    network = components.family.network
    # A file of another family loads without a word and changes nothing; that must not pass for a picture with it.
    if network in state.parts and name not in getattr(modules[network], "peft_config", {}):
        raise _unfit(title)


def _put_in(components: Components, modules: dict[str, Any], name: str, state: _State) -> None:
    loader, network = _loader(components), components.family.network
    for part in sorted(state.parts):
        # Layers are made for weights that are there.
        components.use(part)
        put: Any = getattr(loader, f"load_lora_into_{part}" if part == network else "load_lora_into_text_encoder")
        options: dict[str, Any] = {"adapter_name": name, network if part == network else "text_encoder": modules[part]}
        if "network_alphas" in inspect.signature(put).parameters:
            options["network_alphas"] = state.alphas
        if part != network:
            options["prefix"] = part
        put(dict(state.matrices), **options)


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
