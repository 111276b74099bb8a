"""Folders whose weights lie in the 4 bits of bitsandbytes: read on any device, a layer at a time, into layers of our own.

diffusers reads them only where there is a GPU, and transformers into layers that do not come back unchanged from bitsandbytes'
products on some processors (see `four_bits`). The codes are taken as they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import safe_open

from engine.diffusion.four_bits import BLOCK, FourBitLinear, can_multiply, decode

# Behind the name of a weight stand what its codes mean.
_STATE = ".weight.quant_state.bitsandbytes__nf4"


def read_module(cls: Any, folder: Path, dtype: torch.dtype) -> Any:
    """A module of diffusers on the CPU. Raises `KeyError`, `ValueError` or `OSError` where weights and settings do not go together."""
    settings = {name: value for name, value in cls.load_config(folder, local_files_only=True).items() if name != "quantization_config"}
    with init_empty_weights():
        module = cls.from_config(settings)
    files = sorted(folder.glob("*.safetensors"))
    for name, value in _tensors(files):
        place, _, last = name.rpartition(".")
        try:
            parent = module.get_submodule(place)
            if isinstance(value, torch.Tensor):
                _put(parent, last, value.to(dtype) if value.is_floating_point() else value)
            else:
                _replace(module, place, _layer(parent, value, dtype))
        except AttributeError as error:
            raise KeyError(f"no place for {name}") from error
    if left := [name for name, value in module.state_dict().items() if value.is_meta]:
        raise KeyError(f"no weights for {left[0]}")
    return module


def with_own_layers(module: Any, dtype: torch.dtype) -> Any:
    """A module of transformers with each layer of bitsandbytes in it as one of ours."""
    kind = import_module("bitsandbytes.nn").Linear4bit
    for name, layer in [(name, one) for name, one in module.named_modules() if isinstance(one, kind)]:
        _replace(module, name, _own_layer(layer.weight.data, layer.weight.quant_state, layer.bias, dtype))
    return module


def _tensors(files: list[Path]) -> Iterator[tuple[str, torch.Tensor | dict[str, torch.Tensor]]]:
    """Plain tensors; for a weight in codes everything that belongs to it, "bias" included."""
    for path in files:
        with safe_open(path, framework="pt", device="cpu") as stored:
            names = list(stored.keys())
            layers = [name.removesuffix(_STATE) for name in names if name.endswith(_STATE)]
            owned: dict[str, list[str]] = defaultdict(list)
            for name in names:
                layer = name.rpartition(".weight")[0]
                if layer:
                    owned[layer].append(name)
            for layer in layers:
                bias = [f"{layer}.bias"] if f"{layer}.bias" in names else []
                yield f"{layer}.weight", {name.removeprefix(f"{layer}."): stored.get_tensor(name) for name in (*owned[layer], *bias)}
            taken = {name for layer in layers for name in (*owned[layer], f"{layer}.bias")}
            yield from ((name, stored.get_tensor(name)) for name in names if name not in taken)


def _layer(linear: torch.nn.Linear, stored: dict[str, torch.Tensor], dtype: torch.dtype) -> torch.nn.Module:
    notes = {name: value for name, value in stored.items() if name not in ("weight", "bias")}
    state = import_module("bitsandbytes.functional").QuantState.from_dict(notes, device=torch.device("cpu"))
    if tuple(state.shape) != (linear.out_features, linear.in_features):
        raise ValueError(f"codes for {tuple(state.shape)} in a layer of {(linear.out_features, linear.in_features)}")
    return _own_layer(stored["weight"], state, stored.get("bias"), dtype)


def _own_layer(codes: torch.Tensor, state: Any, bias: torch.Tensor | None, dtype: torch.dtype) -> torch.nn.Module:
    """In 4 bits, or whole where its rows are of a length that cannot be multiplied so."""
    rows, columns = state.shape
    scales = state.absmax
    if state.nested:
        # The scales themselves lie in 8 bits, around their mean.
        scales = import_module("bitsandbytes.functional").dequantize_blockwise(state.absmax, state.state2) + state.offset
    scales = scales.float()
    if state.blocksize != BLOCK or len(scales) * BLOCK < rows * columns:
        raise ValueError(f"scales for blocks of {state.blocksize}")
    with init_empty_weights():
        linear = torch.nn.Linear(columns, rows, bias=bias is not None)
    if bias is not None:
        linear.bias = torch.nn.Parameter(bias.to(dtype), requires_grad=False)
    if can_multiply(columns):
        return FourBitLinear(linear, dtype, (codes, scales))
    linear.weight = torch.nn.Parameter(decode(codes, scales, rows, columns).to(dtype), requires_grad=False)
    return linear


def _put(parent: torch.nn.Module, name: str, value: torch.Tensor) -> None:
    known = getattr(parent, name)
    if known.shape != value.shape:
        raise ValueError(f"{tuple(value.shape)} where {tuple(known.shape)} belongs")
    setattr(parent, name, torch.nn.Parameter(value, requires_grad=False) if isinstance(known, torch.nn.Parameter) else value)


def _replace(module: torch.nn.Module, name: str, layer: torch.nn.Module) -> None:
    place, _, last = name.rpartition(".")
    setattr(module.get_submodule(place), last, layer)
