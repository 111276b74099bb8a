"""The samplers: a table from name to diffusers class and options. Each run builds a fresh one from the model's own config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

from engine.contract.schedulers import SchedulerName


class Space(Enum):
    """How a scheduler keeps its sample, which decides how the clean latents follow from a prediction."""

    ALPHAS = "variance preserving, by timestep"
    VARIANCE_PRESERVING = "variance preserving, by sigma"
    VARIANCE_EXPLODING = "variance exploding, by sigma"


@dataclass(frozen=True)
class Sampler:
    """A row of the table. `options` override the model's scheduler config."""

    cls: type[Any]
    space: Space
    is_random: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


SAMPLERS: dict[SchedulerName, Sampler] = {
    "dpmpp_2m": Sampler(DPMSolverMultistepScheduler, Space.VARIANCE_PRESERVING),
    "euler": Sampler(EulerDiscreteScheduler, Space.VARIANCE_EXPLODING),
    "ddim": Sampler(DDIMScheduler, Space.ALPHAS),
    "unipc": Sampler(UniPCMultistepScheduler, Space.VARIANCE_PRESERVING),
    "heun": Sampler(HeunDiscreteScheduler, Space.VARIANCE_EXPLODING),
    "euler_a": Sampler(EulerAncestralDiscreteScheduler, Space.VARIANCE_EXPLODING, is_random=True),
}


def build_scheduler(name: SchedulerName, model_config: Mapping[str, Any]) -> Any:
    """A fresh scheduler. From the model's own config, never from the last scheduler's: options would stick."""
    sampler = SAMPLERS[name]
    return sampler.cls.from_config(dict(model_config), **sampler.options)
