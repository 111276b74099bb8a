"""What is wrong with four of diffusers' samplers, and that ours differ in nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_k_dpm_2_ancestral_discrete import KDPM2AncestralDiscreteScheduler
from diffusers.schedulers.scheduling_k_dpm_2_discrete import KDPM2DiscreteScheduler
from diffusers.schedulers.scheduling_lms_discrete import LMSDiscreteScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler

from engine.contract.schedulers import SchedulerName
from engine.diffusion.mended import MendedKDPM2, MendedKDPM2Ancestral, MendedLMS, MendedPNDM
from tests.diffusion.test_gaussian import STABLE_DIFFUSION, TOLERANCE, errors, walk

PAIRS: list[tuple[SchedulerName, type[Any], type[Any]]] = [("lms", LMSDiscreteScheduler, MendedLMS), ("pndm", PNDMScheduler, MendedPNDM)]


def run(name: SchedulerName, cls: type[Any], strength: float) -> torch.Tensor:
    return walk(name, cls.from_config(STABLE_DIFFUSION), STABLE_DIFFUSION, steps=30, strength=strength, schedule=None)[-1].latents


@pytest.mark.parametrize(("name", "theirs", "ours"), PAIRS)
def test_a_whole_walk_is_as_it_was(name: SchedulerName, theirs: type[Any], ours: type[Any]) -> None:
    assert float((run(name, theirs, 1.0) - run(name, ours, 1.0)).abs().max()) <= 1e-4


@pytest.mark.parametrize(("name", "theirs", "ours"), PAIRS)
def test_a_walk_from_the_middle_is_mended(name: SchedulerName, theirs: type[Any], ours: type[Any]) -> None:
    found: list[float] = []
    for cls in (theirs, ours):
        steps = walk(name, cls.from_config(STABLE_DIFFUSION), STABLE_DIFFUSION, steps=30, strength=0.6, schedule=None)
        found.append(max(abs(one) for one in errors(steps[-1])))
    print(f"{name}, the last 18 of 30 steps: diffusers' own {found[0]:.2%} off, ours {found[1]:.2%}")
    assert found[0] > TOLERANCE > found[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:numpy.*")
@pytest.mark.parametrize(("theirs", "ours"), [(KDPM2DiscreteScheduler, MendedKDPM2), (KDPM2AncestralDiscreteScheduler, MendedKDPM2Ancestral)])
def test_kdpm2_lies_at_the_same_timesteps(theirs: type[Any], ours: type[Any]) -> None:
    one, other = theirs.from_config(STABLE_DIFFUSION), ours.from_config(STABLE_DIFFUSION)
    one.set_timesteps(20)
    other.set_timesteps(20)
    assert torch.equal(one.sigmas, other.sigmas)
    assert float((one.timesteps - other.timesteps).abs().max()) <= 1e-3
