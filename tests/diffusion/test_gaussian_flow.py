"""Every flow sampler on data whose exact velocity is known: N(1, 1), on the straight way from noise. A sampler that is wrong cannot stay in the menu."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.contract.families import FAMILIES
from engine.contract.guidance import GuidancePlan
from engine.contract.schedulers import SchedulerName, samplers_for
from engine.diffusion.conditioning import Told
from engine.diffusion.denoise import denoise, set_steps, start_from
from engine.diffusion.families import Denoiser
from engine.diffusion.modes.beginning import flow_of
from engine.diffusion.schedulers import build_scheduler
from tests.diffusion.families import DYNAMIC, FLOW
from tests.diffusion.test_gaussian import MEAN, SPREAD, TOLERANCE, draw_noise

CONFIGS = {"fixed shift": FLOW, "shift by size": DYNAMIC}


def velocity(_network: Any, sample: torch.Tensor, timestep: torch.Tensor, _told: Told, _added: Mapping[str, Any]) -> torch.Tensor:
    """E[ε − x₀ | x] for x = (1 − σ)·x₀ + σ·ε: both are Gaussian, so it is a line in x."""
    share = float(timestep) / 1000
    clean = MEAN + (1 - share) * SPREAD**2 / ((1 - share) ** 2 * SPREAD**2 + share**2) * (sample - (1 - share) * MEAN)
    # At the very start the picture is unknown and the noise is what is seen.
    noise = (sample - (1 - share) * clean) / share
    return noise - clean


@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", samplers_for(is_flow=True))
def test_mean_and_spread_are_those_of_the_data(name: SchedulerName, config: str, strength: float) -> None:
    steps = 100
    scheduler = build_scheduler(name, CONFIGS[config])
    clean, noise = draw_noise()
    components: Any = SimpleNamespace(family=SimpleNamespace(facts=FAMILIES["flux1"]), vae_scale=8)
    begin = set_steps(scheduler, steps, strength, torch.device("cpu"), flow=flow_of(components, scheduler, steps, (4, 128, 128)))
    *_, last = denoise(
        Denoiser(None, velocity), scheduler, name=name, latents=start_from(scheduler, clean, noise, begin), embeds=torch.zeros(1, 1, 1),
        guidance=GuidancePlan(scale=1.0), rng=[torch.Generator().manual_seed(1)], begin=begin,
    )  # fmt: skip
    mean, spread = float(last.latents.mean()) / MEAN - 1, float(last.latents.std()) / SPREAD - 1
    print(f"{name}, {config}, from {strength:.0%}: mean {mean:+.2%}, spread {spread:+.2%}")
    assert abs(mean) <= TOLERANCE
    assert abs(spread) <= TOLERANCE
    # What a preview shows at the end is the picture.
    assert float((last.denoised - last.latents).abs().max()) < 1e-3


def test_every_flow_family_has_a_sampler_that_exists() -> None:
    assert {facts.scheduler for facts in FAMILIES.values() if facts.is_flow} <= set(samplers_for(is_flow=True))
