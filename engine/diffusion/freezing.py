"""A walk put aside between two steps: latents, sampler and generators to bytes and back, so that it goes on bit for bit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from engine.contract.errors import DamagedFile
from engine.contract.memory import Packing
from engine.weights.headers import judge_header

# Samplers keep their plan and history in their own attributes; the config they were built from is built again.
_REBUILT = ("_internal_dict", "config")


@dataclass(frozen=True)
class Walk:
    """What a walk carries from step to step beside its latents: objects with a state in their attributes, and generators."""

    carriers: tuple[Any, ...]
    rng: Sequence[torch.Generator]


@dataclass(frozen=True)
class FrozenWalk:
    """Where picture `picture` of a batch was put aside: after model call `index`, and after `step` steps as people count them.

    `packing` is how the weights lay that walked so far, `seconds` how long it took.
    """

    picture: int
    index: int
    step: int
    latents: torch.Tensor
    carriers: list[Any]
    rng: list[torch.Tensor]
    packing: Packing | None
    seconds: float = 0.0

    def restore(self, walk: Walk) -> torch.Tensor:
        """Bring a walk that was begun anew to where this one was, and return its latents."""
        for carrier, state in zip(walk.carriers, self.carriers, strict=True):
            vars(carrier).update(state)
        for generator, state in zip(walk.rng, self.rng, strict=True):
            generator.set_state(state)
        return self.latents


def freeze(walk: Walk, latents: torch.Tensor, *, picture: int, index: int, step: int, packing: Packing | None = None, seconds: float = 0.0) -> bytes:
    """A safetensors file; its metadata say as JSON where each tensor belongs."""
    tensors: dict[str, torch.Tensor] = {}
    states = [{name: value for name, value in vars(carrier).items() if name not in _REBUILT and _is_plain(value)} for carrier in walk.carriers]
    facts = {
        "made_by": _made_by(),
        "picture": picture,
        "index": index,
        "step": step,
        "packing": packing,
        "seconds": seconds,
        "latents": _plain(latents, tensors),
        "carriers": [_plain(state, tensors) for state in states],
        "rng": [_plain(generator.get_state(), tensors) for generator in walk.rng],
    }
    return save(tensors, metadata={"easel": json.dumps(facts)})


def thaw(path: Path, device: torch.device) -> FrozenWalk | None:
    """What `freeze` wrote. None when other versions of the libraries made it, with which it would not go on bit for bit.

    Raises `DamagedFile`.
    """
    try:
        judge_header(path)
        with safe_open(path, framework="pt") as file:  # pyright: ignore[reportUnknownVariableType]
            facts = json.loads(file.metadata()["easel"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if facts["made_by"] != _made_by():
            return None
        latents, carriers, rng = (_live(facts[name], tensors, device) for name in ("latents", "carriers", "rng"))
        return FrozenWalk(facts["picture"], facts["index"], facts["step"], latents, carriers, rng, facts["packing"], float(facts.get("seconds", 0.0)))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DamagedFile("The file of the paused picture cannot be read.", "The picture is drawn from its beginning.") from error


def _made_by() -> dict[str, str]:
    return {"torch": torch.__version__, "diffusers": diffusers.__version__}


def _plain(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """JSON with each tensor, array and tuple under its own mark. What is none of these is left to be made anew."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case torch.Tensor():
            return {"tensor" if value.device.type == "cpu" else "device_tensor": _keep(value, tensors)}
        case np.ndarray():
            return {"array": _keep(torch.from_numpy(value.copy()), tensors)}
        case np.generic():
            return {"scalar": _keep(torch.from_numpy(np.array([value])), tensors)}
        case list() | tuple():
            return {"list" if isinstance(value, list) else "tuple": [_plain(one, tensors) for one in value]}
        case dict():
            return {"dict": {str(name): _plain(one, tensors) for name, one in value.items() if _is_plain(one)}}
        case _:
            raise TypeError(f"a sampler keeps a {type(value).__name__}, which cannot be put aside")


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, torch.Tensor, np.ndarray, np.generic, list, tuple, dict))


def _keep(tensor: torch.Tensor, tensors: dict[str, torch.Tensor]) -> str:
    name = f"t{len(tensors)}"
    # A copy of its own: safetensors refuses two names for one memory.
    tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return name


def _live(value: Any, tensors: dict[str, torch.Tensor], device: torch.device) -> Any:
    """The inverse of `_plain`. What was on the host stays there; the rest goes to where the walk is now."""
    if isinstance(value, list):
        return [_live(one, tensors, device) for one in value]
    if not isinstance(value, dict):
        return value
    ((mark, held),) = value.items()
    match mark:
        case "tensor":
            return tensors[held]
        case "device_tensor":
            return tensors[held].to(device)
        case "array":
            return tensors[held].numpy()
        case "scalar":
            return tensors[held].numpy()[0]
        case "tuple":
            return tuple(_live(one, tensors, device) for one in held)
        case "list":
            return [_live(one, tensors, device) for one in held]
        case _:
            return {name: _live(one, tensors, device) for name, one in held.items()}
