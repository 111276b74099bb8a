"""Every sampler × noise schedule on data whose exact denoiser is known: a sampler that runs but is wrong cannot stay in the menu.

The data is N(1, 1), value by value: unit spread is what a VAE's scaling factor gives real latents. The walk begins at the
true noisy distribution, 65 536 values whose sample mean, spread and covariance with the noise are exact, so what is
left at the end is the sampler's own error. Samplers with ancestral noise are of first order in the number of steps and
get 200; the others get 100. LCM and TCD promise right pictures from a distilled model, so they get one that carries
each sample exactly where the sampler jumps to, and 4 steps.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_dpmsolver_singlestep import DPMSolverSinglestepScheduler
from diffusers.schedulers.scheduling_ipndm import IPNDMScheduler

from engine.contract.guidance import GuidancePlan
from engine.contract.schedulers import SCHEDULER_FACTS, ScheduleName, SchedulerName, model_calls, samplers_for, schedules_of
from engine.diffusion.denoise import Step, denoise, set_steps, start_from
from engine.diffusion.families import Denoiser
from engine.diffusion.families.sd1 import SD1
from engine.diffusion.schedulers import SAMPLERS, build_scheduler, schedule_timesteps
from tests.conftest import STARTER
from tests.diffusion.exact import ExactModel

MEAN, SPREAD = 1.0, 1.0
TOLERANCE = 0.02
STABLE_DIFFUSION: dict[str, Any] = {
    "_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "prediction_type": "epsilon",
    "steps_offset": 1, "clip_sample": False, "set_alpha_to_one": False, "skip_prk_steps": True,
}  # fmt: skip
STARTERS: dict[str, Any] = json.loads((STARTER / "scheduler" / "scheduler_config.json").read_text())
CONFIGS: dict[str, dict[str, Any]] = {
    "SD": STABLE_DIFFUSION,
    "SD 2 (v)": {**STABLE_DIFFUSION, "prediction_type": "v_prediction"},
    "starter (v, zero SNR)": STARTERS,
}
FIRST_ORDER_NOISE: tuple[SchedulerName, ...] = ("euler_a", "ddpm")
FEW: tuple[SchedulerName, ...] = ("lcm", "tcd")
PAIRS: list[tuple[SchedulerName, ScheduleName | None]] = [
    (name, schedule) for name in samplers_for(is_flow=False) for schedule in (None, *schedules_of(name))
]


def draw_noise() -> tuple[torch.Tensor, torch.Tensor]:
    """Clean values of N(MEAN, SPREAD²) and noise of N(0, 1), (1, 4, 128, 128), exact in their first two moments."""
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(1, 4, 128, 128, generator=generator, dtype=torch.float64) for _ in range(2))
    clean = (clean - clean.mean()) / clean.std()
    noise = noise - noise.mean()
    noise = noise - (noise * clean).mean() / (clean * clean).mean() * clean
    return (MEAN + SPREAD * clean).float(), (noise / noise.std()).float()


def walk(name: SchedulerName, scheduler: Any, config: dict[str, Any], *, steps: int, strength: float, schedule: ScheduleName | None) -> list[Step]:
    clean, noise = draw_noise()
    begin = set_steps(scheduler, steps, strength, torch.device("cpu"), schedule)
    model = ExactModel(config, mean=MEAN, spread=SPREAD, jump=jump_of(name, scheduler) if name in FEW else None)
    return list(
        denoise(
            Denoiser(model, SD1.predict),
            scheduler,
            name=name,
            latents=start_from(scheduler, clean, noise, begin),
            embeds=torch.zeros(1, 1, 1),
            guidance=GuidancePlan(scale=1.0),
            rng=[torch.Generator().manual_seed(1)],
            begin=begin,
        )
    )


def jump_of(name: SchedulerName, scheduler: Any) -> Any:
    """Where one step of a few-step sampler lands before noise is added again: LCM on clean, TCD at (1 − η) of the next timestep."""
    following = dict(zip(scheduler.timesteps.tolist(), [*scheduler.timesteps.tolist()[1:], None], strict=True))

    def jump(timestep: float) -> int:
        if name == "lcm" or following[timestep] is None:
            return -1
        return int((1 - 0.3) * following[timestep])

    return jump


def errors(last: Step) -> tuple[float, float]:
    """Relative errors of mean and spread."""
    return float(last.latents.mean()) / MEAN - 1, float(last.latents.std()) / SPREAD - 1


def steps_for(name: SchedulerName) -> int:
    return 4 if name in FEW else 200 if name in FIRST_ORDER_NOISE else 100


# Of first order, and on a zero-SNR model half of its steps lie where there is only noise. Heun came first, on a schedule
# near that of the starter; with a noise schedule of its own it is exact.
_ROUGH = {
    ("starter (v, zero SNR)", "euler", "karras"): 0.025, ("starter (v, zero SNR)", "euler", "exponential"): 0.025,
    ("starter (v, zero SNR)", "heun", ""): 0.025,
}  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(("name", "schedule"), PAIRS)
def test_mean_and_spread_are_those_of_the_data(name: SchedulerName, schedule: ScheduleName | None, config: str) -> None:
    scheduler = build_scheduler(name, CONFIGS[config], schedule)
    steps = walk(name, scheduler, CONFIGS[config], steps=steps_for(name), strength=1.0, schedule=schedule)
    mean, spread = errors(steps[-1])
    print(f"{config}: {name} {schedule or 'own'}: mean {mean:+.2%}, spread {spread:+.2%}")
    tolerance = _ROUGH.get((config, name, schedule or ""), TOLERANCE)
    assert abs(mean) <= tolerance
    assert abs(spread) <= tolerance
    assert len(steps) == model_calls(name, steps_for(name))


@pytest.mark.parametrize("name", [name for name in samplers_for(is_flow=False) if name not in FEW])
def test_a_walk_of_the_last_steps_is_right_too(name: SchedulerName) -> None:
    """As with a source picture: the samplers that remember earlier steps have none yet."""
    count = 2 * steps_for(name)
    scheduler = build_scheduler(name, STABLE_DIFFUSION)
    steps = walk(name, scheduler, STABLE_DIFFUSION, steps=min(count, 200), strength=0.6, schedule=None)
    mean, spread = errors(steps[-1])
    print(f"{name} from 60 %: mean {mean:+.2%}, spread {spread:+.2%}")
    assert abs(mean) <= TOLERANCE
    assert abs(spread) <= TOLERANCE
    assert len(steps) == model_calls(name, int(min(count, 200) * 0.6))


@pytest.mark.parametrize("name", ["euler_a", "ddpm"])
def test_ancestral_noise_is_of_first_order(name: SchedulerName) -> None:
    """Twice the steps, half the error: why these two get 200 steps above."""
    found = [
        errors(walk(name, build_scheduler(name, STABLE_DIFFUSION), STABLE_DIFFUSION, steps=steps, strength=1.0, schedule=None)[-1])[1]
        for steps in (50, 100, 200)
    ]
    print(f"{name}: spread {', '.join(f'{one:+.2%}' for one in found)} at 50, 100, 200 steps")
    assert 1.6 < found[0] / found[1] < 2.4
    assert 1.6 < found[1] / found[2] < 2.4


LEFT_OUT: dict[str, Any] = {
    "DPM++ 3M SDE": lambda: DPMSolverMultistepScheduler.from_config(STABLE_DIFFUSION, algorithm_type="sde-dpmsolver++", solver_order=3),
    "DPM++ 2S SDE": lambda: DPMSolverSinglestepScheduler.from_config(STABLE_DIFFUSION, algorithm_type="sde-dpmsolver++"),
    "IPNDM": lambda: IPNDMScheduler.from_config(STABLE_DIFFUSION),
}


@pytest.mark.parametrize("label", LEFT_OUT)
def test_what_is_left_out_is_wrong(label: str) -> None:
    """If this fails, diffusers has mended one: put it into the menu."""
    scheduler = LEFT_OUT[label]()
    clean, noise = draw_noise()
    scheduler.set_timesteps(100)
    # IPNDM cannot add noise; at its first timestep there is next to nothing else.
    sample = noise if label == "IPNDM" else start_from(scheduler, clean, noise, 0)
    model, generator = ExactModel(STABLE_DIFFUSION, mean=MEAN, spread=SPREAD), torch.Generator().manual_seed(1)
    for timestep in scheduler.timesteps:
        options = {} if label == "IPNDM" else {"generator": generator}
        sample = scheduler.step(model(sample, timestep)[0], timestep, sample, return_dict=False, **options)[0]
    mean, spread = float(sample.mean()) / MEAN - 1, float(sample.std()) / SPREAD - 1
    print(f"{label}: mean {mean:+.2%}, spread {spread:+.2%}")
    assert max(abs(mean), abs(spread)) > TOLERANCE


def test_every_row_is_there_twice() -> None:
    assert list(SAMPLERS) == list(SCHEDULER_FACTS) == list(get_args(SchedulerName))


@pytest.mark.parametrize("name", ["dpmpp_2m", "euler", "ddim", "unipc", "heun", "euler_a"])
def test_the_first_samplers_are_what_they_were(name: SchedulerName) -> None:
    """Pictures of old recipes stay the same: without a noise schedule nothing is said to these but the model's own config."""
    for config in CONFIGS.values():
        assert build_scheduler(name, config).config == SAMPLERS[name].cls.from_config(config).config


@pytest.mark.parametrize("steps", [3, 5, 30, 100, 200])
def test_beta_timesteps_are_their_own_quantiles(steps: int) -> None:
    timesteps = schedule_timesteps("beta", steps, 1000)
    assert timesteps is not None
    assert timesteps[0] == 999
    assert all(high > low for high, low in pairwise(timesteps))
    assert timesteps[-1] >= 0
    # Symmetric around the middle, as Beta(0.6, 0.6) is; the first is at the end itself.
    assert abs(timesteps[1] + timesteps[-1] - 999) <= 1
    if steps == 5:
        # scipy.stats.beta.ppf([1, .8, .6, .4, .2], .6, .6) × 999, rounded
        assert timesteps == [999, 876, 637, 362, 123]
