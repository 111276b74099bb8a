"""How a run walks down the noise: the share of it before every step, read from a model's settings, without torch and without weights.

For a plot. tests/diffusion/test_noise_plan.py holds it against what the scheduler classes really walk.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.contract.families import FamilyFacts, Size, family_of
from engine.contract.schedulers import SCHEDULER_FACTS, ScheduleName, SchedulerName, check_sampling, schedules_of
from engine.contract.timesteps import schedule_timesteps
from engine.weights.single_files import settings_of

# Classes that lay their even steps from the last timestep down to a step above 0; the others go down to 0 itself.
_ABOVE_ZERO = ("dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2s", "unipc", "deis", "sa_solver")
# Where a model's settings do not say, these begin every stretch at its start (Lin et al. 2024, table 2: "leading").
_LEADING = ("ddim", "pndm", "ddpm")
_FEW = ("lcm", "tcd")
_FEW_ORIGIN = 50
_SIGMA_MAX_EDM, _RHO = 80.0, 7.0
# Settings of a flow's scheduler that no family's models come with.
_FLOW_UNUSUAL = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "invert_sigmas")


def noise_plan(folder: Path, scheduler: SchedulerName, schedule: ScheduleName | None, steps: int, size: Size) -> tuple[float, ...]:
    """Shares of noise before each of `steps` steps, and 0 behind the last: √(1 − ᾱ), or σ of a flow, which may depend on the size of the picture.

    Empty where the model's settings are unusual, or it is not one that the sampler is for. Raises `InvalidRequest` where
    sampler, schedule and steps do not go together.
    """
    check_sampling(scheduler, schedule, steps)
    try:
        config = settings_of(folder, "scheduler")
        if SCHEDULER_FACTS[scheduler].group == "flow":
            facts = family_of(settings_of(folder, "model_index"))
            plan = _flow_shares(facts, scheduler, steps, config, size) if facts else ()
        else:
            plan = _walked_shares(scheduler, schedule, steps, config)
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError):
        return ()
    return (*(round(float(share), 4) for share in plan), 0.0) if len(plan) else ()


def _walked_shares(scheduler: SchedulerName, schedule: ScheduleName | None, steps: int, config: Mapping[str, Any]) -> np.ndarray:
    shares = noise_shares(config)
    if schedule is None and config.get("use_karras_sigmas") and "karras" in schedules_of(scheduler):
        schedule = "karras"
    if schedule in ("karras", "exponential"):
        return _by_sigma(schedule, shares, steps)
    return np.interp(_timesteps(scheduler, schedule, steps, config, len(shares)), np.arange(len(shares)), shares)


def noise_shares(config: Mapping[str, Any]) -> np.ndarray:
    """√(1 − ᾱ) of every timestep. Raises `KeyError` and its kin for settings that say no betas."""
    first, last, count = config["beta_start"], config["beta_end"], config["num_train_timesteps"]
    root = 0.5 if config["beta_schedule"] == "scaled_linear" else 1.0
    betas = np.linspace(first**root, last**root, count) ** (1 / root)
    signal = np.sqrt(np.cumprod(1 - betas))
    if config.get("rescale_betas_zero_snr"):
        signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
    return np.sqrt(1 - signal**2)


def _by_sigma(schedule: ScheduleName, shares: np.ndarray, steps: int) -> np.ndarray:
    """Even places in the seventh root of sigma (Karras et al. 2022, equation 5), or in its logarithm."""
    sigma = shares / np.sqrt(np.maximum(1 - shares**2, 1e-12))
    least, most = sigma[0], sigma[-1] if shares[-1] < 1 - 1e-9 else _SIGMA_MAX_EDM
    places = np.linspace(0, 1, steps)
    if schedule == "karras":
        found = (most ** (1 / _RHO) + places * (least ** (1 / _RHO) - most ** (1 / _RHO))) ** _RHO
    else:
        found = np.exp(np.log(most) + places * (np.log(least) - np.log(most)))
    return found / np.sqrt(1 + found**2)


def _timesteps(scheduler: SchedulerName, schedule: ScheduleName | None, steps: int, config: Mapping[str, Any], count: int) -> np.ndarray:
    if (own := schedule_timesteps(schedule, steps, count)) is not None:
        return np.array(own)
    if scheduler in _FEW:
        origin = (np.arange(1, _FEW_ORIGIN + 1) * (count // _FEW_ORIGIN) - 1)[::-1]
        return origin[np.floor(np.linspace(0, len(origin), steps, endpoint=False)).astype(int)]
    spacing = {"normal": "linspace", "trailing": "trailing"}.get(schedule or "") or config.get("timestep_spacing")
    if scheduler == "dpmpp_2s":
        spacing = "linspace"
    match spacing or ("leading" if scheduler in _LEADING else "linspace"):
        case "trailing":
            return np.round(count - np.arange(steps) * (count / steps)) - 1
        case "leading":
            more = scheduler in _ABOVE_ZERO
            return (np.arange(steps) + more)[::-1] * (count // (steps + more)) + config.get("steps_offset", 0)
        case _:
            return np.linspace(0, count - 1, steps + 1)[:0:-1] if scheduler in _ABOVE_ZERO else np.linspace(0, count - 1, steps)[::-1]


def _flow_shares(facts: FamilyFacts, scheduler: SchedulerName, steps: int, config: Mapping[str, Any], size: Size) -> np.ndarray:
    """σ of a flow, (steps,): even levels, shifted towards the noise."""
    if facts.flow is None or any(config.get(name) for name in _FLOW_UNUSUAL) or config.get("time_shift_type", "exponential") != "exponential":
        return np.array([])
    least = 1 / config.get("num_train_timesteps", 1000)
    plan = facts.flow(config, steps, facts.tokens(*size))
    shift = float(np.exp(plan["mu"])) if config.get("use_dynamic_shifting") else float(config.get("shift", 1.0))
    match scheduler:
        case "flow_dpmpp_2m":
            # It cannot be given its levels, and knows no last one.
            return _shifted(np.linspace(1 - least, 0, steps + 1)[:-1], shift)
        case "flow_unipc":
            even = plan.get("sigmas", np.linspace(1, least, steps + 1)[:-1])
        case _:
            # A fixed shift is in its lowest level already, which is then shifted once more.
            even = plan.get("sigmas", np.linspace(1, least if config.get("use_dynamic_shifting") else _shifted(least, shift), steps))
    found, last = _shifted(even, shift), config.get("shift_terminal")
    # A single step begins at pure noise: there is no last level to stretch to.
    return 1 - (1 - found) * (1 - last) / (1 - found[-1]) if last and steps > 1 else found


def _shifted(share: Any, shift: float) -> Any:
    """Levels with `shift` times as much noise for what there is of the picture (Esser et al. 2024, equation 23)."""
    return shift * share / (1 + (shift - 1) * share)
