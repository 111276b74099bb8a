"""Weights kept smaller than they were trained: cast to 8 bits (fp8), or quantised while they are read by torchao (int8) or bitsandbytes (nf4).

Nothing of it is left to chance: read again, a part is the same to the bit.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from engine.contract.errors import InvalidRequest
from engine.contract.memory import Packing
from engine.contract.memory_plans import PACKAGES, install_line

_HINT = "Whoever runs this studio can choose another memory plan under Models."


def check_packing(packing: Packing | None, device: torch.device) -> None:
    """Raises `InvalidRequest` where this device or environment cannot quantise so, before anything is read."""
    package = PACKAGES.get(packing) if packing in ("int8", "nf4") else None
    if package is not None and find_spec(package) is None:
        message = f"This studio quantises with {package}, which is not installed here."
        raise InvalidRequest(message, f"Whoever runs it can add it: {install_line(package)}. Or choose another memory plan under Models.", "model")
    if packing == "nf4" and device.type != "cuda":
        raise InvalidRequest("Quantising to 4 bits needs an NVIDIA GPU.", _HINT, "model")


def reading_words(packing: Packing | None, dtype: torch.dtype, *, is_ours: bool) -> dict[str, Any]:
    """What `from_pretrained` is told, of diffusers (`is_ours`) or of transformers: weights are quantised one by one, so that the whole is never in memory."""
    if packing == "int8":
        return {"quantization_config": _torchao_words(is_ours=is_ours)}
    if packing == "nf4":
        return {"quantization_config": _bitsandbytes(dtype, is_ours=is_ours)}
    return {}


def pack(module: Any, packing: Packing | None, dtype: torch.dtype) -> Any:
    """The same for a module that is whole already. Raises `InvalidRequest` for 4 bits: they are made while a folder is read."""
    if packing == "fp8":
        module.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    elif packing == "int8":
        _torchao().quantize_(module, _eight_bits())
        module.requires_grad_(False)
    elif packing == "nf4":
        raise InvalidRequest(
            "A single file of Stable Diffusion or SDXL cannot be quantised to 4 bits.", f"Take the model as a folder. {_HINT}", "model"
        )
    return module


def plain(value: torch.Tensor) -> torch.Tensor:
    """The numbers that a quantised weight stands for; any other tensor as it is."""
    return value.dequantize() if is_packed(value) else value


def is_packed(value: torch.Tensor) -> bool:
    """Whether it is made of smaller tensors, as torchao's are."""
    return hasattr(value, "__tensor_flatten__")


def stored_bytes(value: torch.Tensor) -> int:
    """What it takes: a quantised weight says of itself what it stands for."""
    if not is_packed(value):
        return value.nbytes
    made: Any = value
    names, _ = made.__tensor_flatten__()
    return sum(stored_bytes(getattr(made, name)) for name in names)


def _torchao() -> Any:
    # Only where somebody wants it: it takes a second, and may not be installed.
    return import_module("torchao.quantization")


def _torchao_words(*, is_ours: bool) -> Any:
    if is_ours:
        from diffusers.quantizers.quantization_config import TorchAoConfig
    else:
        from transformers.utils.quantization_config import TorchAoConfig
    return TorchAoConfig(_eight_bits())


def _bitsandbytes(dtype: torch.dtype, *, is_ours: bool) -> Any:
    if is_ours:
        from diffusers.quantizers.quantization_config import BitsAndBytesConfig
    else:
        from transformers.utils.quantization_config import BitsAndBytesConfig
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _eight_bits() -> Any:
    return _torchao().Int8WeightOnlyConfig(version=2)
