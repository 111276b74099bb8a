"""The samplers: a table from name to diffusers class and options. Each run builds a fresh one from the model's own config."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_deis_multistep import DEISMultistepScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_dpmsolver_singlestep import DPMSolverSinglestepScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from diffusers.schedulers.scheduling_sasolver import SASolverScheduler
from diffusers.schedulers.scheduling_tcd import TCDScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

from engine.contract.schedulers import ScheduleName, SchedulerName
from engine.contract.timesteps import schedule_timesteps as schedule_timesteps
from engine.diffusion.mended import MendedKDPM2, MendedKDPM2Ancestral, MendedLMS, MendedPNDM

# A model with zero terminal SNR knows no largest noise level. Even places in sigma begin at that of EDM (Karras et al. 2022,
# table 1), so that steps are left for the picture; even places in time at the one that diffusers' own classes take.
_SIGMA_MAX_EDM, _SIGMA_MAX = 80.0, 2.0**12


class Space(Enum):
    """How a scheduler keeps its sample, which decides how the clean latents follow from a prediction."""

    ALPHAS = "variance preserving, by timestep"
    VARIANCE_PRESERVING = "variance preserving, by sigma"
    VARIANCE_EXPLODING = "variance exploding, by sigma"
    FLOW = "straight from noise to picture, by sigma"


@dataclass(frozen=True)
class Sampler:
    """A row of the table. `options` override the model's scheduler config."""

    cls: type[Any]
    space: Space
    options: Mapping[str, Any] = field(default_factory=dict)


_SDE = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2, "solver_type": "midpoint"}
_SINGLESTEP = {"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint", "lower_order_final": True}
_FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
SAMPLERS: dict[SchedulerName, Sampler] = {
    "dpmpp_2m": Sampler(DPMSolverMultistepScheduler, Space.VARIANCE_PRESERVING),
    "euler": Sampler(EulerDiscreteScheduler, Space.VARIANCE_EXPLODING),
    "ddim": Sampler(DDIMScheduler, Space.ALPHAS),
    "unipc": Sampler(UniPCMultistepScheduler, Space.VARIANCE_PRESERVING),
    "heun": Sampler(HeunDiscreteScheduler, Space.VARIANCE_EXPLODING),
    "dpmpp_2s": Sampler(DPMSolverSinglestepScheduler, Space.VARIANCE_PRESERVING, options=_SINGLESTEP),
    "deis": Sampler(DEISMultistepScheduler, Space.VARIANCE_PRESERVING, options={"algorithm_type": "deis", "solver_type": "logrho"}),
    "lms": Sampler(MendedLMS, Space.VARIANCE_EXPLODING),
    "pndm": Sampler(MendedPNDM, Space.ALPHAS, options={"skip_prk_steps": True}),
    "kdpm2": Sampler(MendedKDPM2, Space.VARIANCE_EXPLODING),
    "euler_a": Sampler(EulerAncestralDiscreteScheduler, Space.VARIANCE_EXPLODING),
    "dpmpp_2m_sde": Sampler(DPMSolverMultistepScheduler, Space.VARIANCE_PRESERVING, options=_SDE),
    "kdpm2_a": Sampler(MendedKDPM2Ancestral, Space.VARIANCE_EXPLODING),
    "sa_solver": Sampler(SASolverScheduler, Space.VARIANCE_PRESERVING, options={"algorithm_type": "data_prediction"}),
    "ddpm": Sampler(DDPMScheduler, Space.ALPHAS, options={"clip_sample": False, "variance_type": "fixed_small"}),
    "lcm": Sampler(LCMScheduler, Space.ALPHAS, options={"clip_sample": False}),
    "tcd": Sampler(TCDScheduler, Space.ALPHAS, options={"clip_sample": False}),
    "flow_euler": Sampler(FlowMatchEulerDiscreteScheduler, Space.FLOW),
    "flow_dpmpp_2m": Sampler(DPMSolverMultistepScheduler, Space.FLOW, options=_FLOW),
    "flow_unipc": Sampler(UniPCMultistepScheduler, Space.FLOW, options=_FLOW),
}

# What each noise schedule says to every class; the model's own config may say otherwise. "beta" comes as timesteps.
_EVEN = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False, "timestep_spacing": "linspace"}
SCHEDULES: dict[ScheduleName, Mapping[str, Any]] = {
    "normal": _EVEN,
    "karras": {**_EVEN, "use_karras_sigmas": True},
    "exponential": {**_EVEN, "use_exponential_sigmas": True},
    "beta": _EVEN,
    "trailing": {**_EVEN, "timestep_spacing": "trailing"},
}


def build_scheduler(name: SchedulerName, model_config: Mapping[str, Any], schedule: ScheduleName | None = None) -> Any:
    """A fresh scheduler. From the model's own config, never from the last scheduler's: options would stick."""
    sampler = SAMPLERS[name]
    known = inspect.signature(sampler.cls.__init__).parameters
    options = {**sampler.options, **(SCHEDULES[schedule] if schedule else {})}
    if sampler.space is Space.FLOW:
        # A flow's own scheduler calls its fixed shift by another name than these classes do.
        options["flow_shift"] = model_config.get("shift", 1.0)
    if model_config.get("rescale_betas_zero_snr"):
        options |= _finite(name, schedule, model_config, knows_zero_snr="rescale_betas_zero_snr" in known)
    return sampler.cls.from_config(dict(model_config), **{key: value for key, value in options.items() if key in known})


def noised(scheduler: Any, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """Clean latents with as much noise as belongs to these timesteps, (B, C, h, w). A flow's scheduler goes by where it stands."""
    if hasattr(scheduler, "scale_noise"):
        return scheduler.scale_noise(clean, timesteps, noise)
    return scheduler.add_noise(clean, noise, timesteps)


def _finite(name: SchedulerName, schedule: ScheduleName | None, model_config: Mapping[str, Any], *, knows_zero_snr: bool) -> dict[str, Any]:
    """Options that give a schedule with zero terminal SNR an end, where sampler or noise schedule need one."""
    if schedule in ("karras", "exponential"):
        return {"trained_betas": _betas_up_to(_SIGMA_MAX_EDM, model_config), "rescale_betas_zero_snr": False}
    # Heun was there first, on a schedule that is near enough; its pictures stay as they are.
    if knows_zero_snr or (name == "heun" and schedule is None):
        return {}
    return {"trained_betas": _betas_up_to(_SIGMA_MAX, model_config)}


def _betas_up_to(sigma_max: float, model_config: Mapping[str, Any]) -> list[float]:
    """The betas of a schedule with zero terminal SNR (Lin et al. 2024, algorithm 1), its noise level held at `sigma_max` near the end."""
    scheduler: Any = DDIMScheduler.from_config(dict(model_config))
    alphas: torch.Tensor = scheduler.alphas_cumprod.double()
    # Not quite level, so that every noise level has one timestep.
    floor = torch.linspace(1.01, 1.0, len(alphas), dtype=torch.float64) / (1 + sigma_max**2)
    alphas = torch.maximum(alphas, floor)
    return (1 - alphas / torch.cat([torch.ones(1, dtype=torch.float64), alphas[:-1]])).tolist()
