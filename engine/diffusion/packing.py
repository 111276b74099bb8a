"""Weights kept smaller than they were trained: cast to 8 bits (fp8), or quantised by torchao (int8) or bitsandbytes (nf4).

torchao quantises while a library reads, one weight after the other. For 4 bits that way is barred: diffusers lets bitsandbytes work
where there is a GPU alone, and takes no other quantiser than those of its own table. So the weights are read as they lie in their
file, which maps it and fills no memory, and the layers are quantised one after the other: the whole is never in memory either.

Nothing of it is left to chance: read again, a part is the same to the bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from engine.contract.errors import InvalidRequest
from engine.contract.memory import Packing
from engine.contract.memory_plans import PACKAGES, install_line
from engine.diffusion.four_bits import FourBitLinear, in_four_bits

_READ_AS_STORED = (torch.float32, torch.float16, torch.bfloat16)


def check_packing(packing: Packing | None) -> None:
    """Raises `InvalidRequest` where this environment cannot quantise so, before anything is read."""
    package = PACKAGES.get(packing) if packing in ("int8", "nf4") else None
    if package is not None and find_spec(package) is None:
        message = f"This studio quantises with {package}, which is not installed here."
        raise InvalidRequest(message, f"Whoever runs it can add it: {install_line(package)}. Or choose another memory plan under Models.", "model")


def reading_words(packing: Packing | None, *, is_ours: bool) -> dict[str, Any]:
    """What `from_pretrained` is told, of diffusers (`is_ours`) or of transformers: weights are quantised one by one, so that the whole is never in memory."""
    return {"quantization_config": _torchao_words(is_ours=is_ours)} if packing == "int8" else {}


def reading_dtype(packing: Packing | None, dtype: torch.dtype, tensors: Iterable[torch.Tensor]) -> torch.dtype:
    """The type in which weights are to be read that will work in `dtype`: for 4 bits the one that most of their numbers have as they are stored."""
    if packing != "nf4":
        return dtype
    counts: Counter[torch.dtype] = Counter()
    for one in tensors:
        counts[one.dtype] += one.numel()
    found = max(counts, key=lambda kind: counts[kind], default=dtype)
    return found if found in _READ_AS_STORED else dtype


def stored_tensors(files: Iterable[Path]) -> Iterator[torch.Tensor]:
    """The weights in files as views of these: nothing is read before somebody looks at the numbers."""
    for path in files:
        with safe_open(path, framework="pt", device="cpu") as stored:
            yield from (stored.get_tensor(name) for name in stored.keys())  # noqa: SIM118


def pack(module: Any, packing: Packing | None, dtype: torch.dtype) -> Any:
    """A module on the CPU, made smaller; it works in `dtype`. It may be whole, or lie in its file still."""
    if packing == "fp8":
        module.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    elif packing == "int8":
        _torchao().quantize_(module, _eight_bits())
        module.requires_grad_(False)
    elif packing == "nf4":
        return in_four_bits(module, dtype)
    return module


def lies_packed(module: torch.nn.Module, packing: Packing) -> bool:
    """Whether weights of it really lie so: those of a GGUF do not, they are small already."""
    values = (*module.parameters(), *module.buffers())
    match packing:
        case "fp8":
            return any(value.dtype == torch.float8_e4m3fn for value in values)
        case "int8":
            return any(is_packed(value) for value in values)
        case "nf4":
            return any(isinstance(one, FourBitLinear) for one in module.modules())


def plain(value: torch.Tensor) -> torch.Tensor:
    """The numbers that a quantised weight stands for; any other tensor as it is."""
    return value.dequantize() if is_packed(value) else value


def plain_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state of a module as it would be had nobody quantised it."""
    state = {name: plain(value.detach()) for name, value in module.state_dict().items()}
    for name, one in module.named_modules():
        if isinstance(one, FourBitLinear):
            del state[f"{name}.codes"], state[f"{name}.scales"]
            state[f"{name}.weight"] = one.weight
    return state


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


def _eight_bits() -> Any:
    return _torchao().Int8WeightOnlyConfig(version=2)
