"""The one denoising loop: a generator of steps. Whoever walks it decides about previews, stopping and keeping."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from engine.contract.guidance import GuidancePlan
from engine.contract.schedulers import ScheduleName, SchedulerName
from engine.diffusion.conditioning import Embeds, Told, tell
from engine.diffusion.controlnet import Control
from engine.diffusion.families import Denoiser
from engine.diffusion.freezing import FrozenWalk, Walk
from engine.diffusion.guidance import Guide
from engine.diffusion.remembering import WordMemory
from engine.diffusion.schedulers import SAMPLERS, Space, noised, schedule_timesteps
from engine.diffusion.score_guidance import Nudge


@dataclass(frozen=True)
class Step:
    """State after model call `index` (from 0) of `total`. `latents` and `denoised` are (B, C, h, w) float32.

    `denoised` is the clean picture that the model predicts from here: what a preview shows.
    """

    index: int
    total: int
    timestep: float
    sigma: float
    latents: torch.Tensor
    denoised: torch.Tensor
    walk: Walk


# Where there is next to no signal, or noise, left to divide by.
_ALPHA_MIN = 1e-4

# (latents after the step, scheduler, index of the step, timesteps of this walk) → latents to go on with.
Keep = Callable[[torch.Tensor, Any, int, Any], torch.Tensor]


def set_steps(
    scheduler: Any,
    steps: int,
    strength: float,
    device: torch.device,
    schedule: ScheduleName | None = None,
    flow: Mapping[str, Any] | None = None,
) -> int:
    """Lay out the schedule and return the model call to begin at: `strength` is the share of the steps that is walked, at least one.

    `flow` is what a flow family lays out its own way: keyword arguments of `set_timesteps`.
    """
    if steps == 1 and scheduler.config.get("shift_terminal"):
        # The last level is stretched to the one named there. A single step has no level between all noise and none: stretching it is 0 / 0.
        scheduler.register_to_config(shift_terminal=None)
    timesteps = None if flow is not None else schedule_timesteps(schedule, steps, scheduler.config["num_train_timesteps"])
    if timesteps is None:
        scheduler.set_timesteps(steps, device=device, **(flow or {}))
    else:
        scheduler.set_timesteps(timesteps=timesteps, device=device)
    walked = max(1, min(int(steps * strength), steps))
    begin = (steps - walked) * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    return begin


def start_noise(scheduler: Any, noise: torch.Tensor) -> torch.Tensor:
    """Pure noise in the scale that this scheduler starts from."""
    # A flow begins at noise as it is drawn.
    return noise * getattr(scheduler, "init_noise_sigma", 1.0)


def start_from(scheduler: Any, clean: torch.Tensor, noise: torch.Tensor, begin: int) -> torch.Tensor:
    """Clean latents with as much noise as step `begin` expects (SDEdit, Meng et al. 2022). All (B, C, h, w) float32."""
    return noised(scheduler, clean, noise, scheduler.timesteps[begin : begin + 1].repeat(len(clean)))


def denoise(
    model: Denoiser,
    scheduler: Any,
    *,
    name: SchedulerName,
    latents: torch.Tensor,
    embeds: Embeds,
    guidance: GuidancePlan,
    rng: Sequence[torch.Generator],
    begin: int = 0,
    keep: Keep | None = None,
    extra: torch.Tensor | None = None,
    nudge: Nudge | None = None,
    control: Control | None = None,
    frozen: FrozenWalk | None = None,
) -> Iterator[Step]:
    """Walk from noisy `latents` (B, C, h, w), as `start_noise` or `start_from` made them, to clean ones.

    `begin` is the model call of the schedule to start at. `keep` may put known latents back after each step. `extra`
    (B, C', h, w) is appended to the model's input, as inpainting checkpoints want it. `nudge` says what to add to the
    predicted clean latents of each guided step, `control` to what the model's encoder passes on. With `frozen` the walk goes on after the step at which it was put aside,
    bit for bit.
    `embeds` is 2B rows, negative half first, when guidance is on, else B; or, where words change on the way or pictures
    are shown, a function from index and number of model calls to that. The sample stays in
    float32 while the model runs in its own dtype: sampler sums lose nothing and the seed means the same in any dtype.
    In float32 every value equals that of diffusers' pipeline of the family.
    """
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {"generator": list(rng)} if takes_generator else {}
    timesteps = scheduler.timesteps[begin:]
    total = len(timesteps)
    batch = len(latents)
    scales = hasattr(scheduler, "scale_model_input")
    guide, memory = Guide(guidance, model.network, model.settle), WordMemory(model.network)

    def predict(sample: torch.Tensor, timestep: torch.Tensor, index: int, told: Told) -> torch.Tensor:
        """One run of the model: scaled `sample` (B, C, h, w) told n things, n·B rows → (n·B, C, h, w) float32."""
        rows = len(told) // batch
        model.ready()
        added = {} if control is None else control(sample.repeat(rows, 1, 1, 1), timestep, told, batch=batch, index=index, calls=total)
        if extra is not None:
            sample = torch.cat([sample, extra], dim=1)
        sample = sample.repeat(rows, 1, 1, 1).to(told.dtype)
        with memory.at_hand():
            return model.predict(model.network, sample, timestep, told, added).float()

    walk, first = Walk((scheduler, guide), rng), 0
    if frozen is not None:
        latents, first = frozen.restore(walk), frozen.index + 1
    for index, timestep in enumerate(timesteps):
        if index < first:
            continue
        sample = scheduler.scale_model_input(latents, timestep) if scales else latents
        prediction = guide.predict(partial(predict, sample, timestep, index), tell(embeds, index, total), batch=batch, index=index, calls=total)
        sigma, denoised = clean_latents(scheduler, SAMPLERS[name].space, begin + index, prediction, latents)
        if nudge is not None and guidance.is_active(index, total):
            change = nudge(denoised, sigma)
            prediction = moved(scheduler, SAMPLERS[name].space, begin + index, prediction, change)
            denoised = denoised + change
        latents = scheduler.step(prediction, timestep, latents, return_dict=False, **options)[0]
        if keep is not None:
            latents = keep(latents, scheduler, index, timesteps)
        yield Step(index, total, float(timestep), sigma, latents, denoised, walk)


def clean_latents(scheduler: Any, space: Space, index: int, prediction: torch.Tensor, latents: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Noise level and predicted clean latents at step `index`, before the scheduler has moved on.

    With x = α·x₀ + σ·ε: from ε, x₀ = (x − σ·ε) / α; from v, x₀ = α·x − σ·v (Salimans & Ho 2022, appendix D).
    """
    if space is Space.FLOW:
        # x = (1 − σ)·x₀ + σ·ε and v = ε − x₀ (Liu et al. 2022, rectified flow).
        share = float(scheduler.sigmas[index])
        return share / max(1 - share, _ALPHA_MIN), latents - share * prediction
    noise_level, alpha, sigma = signal_and_noise(scheduler, space, index)
    sample = latents * alpha if space is Space.VARIANCE_EXPLODING else latents
    match scheduler.config["prediction_type"]:
        case "v_prediction":
            denoised = alpha * sample - sigma * prediction
        case "sample":
            denoised = prediction
        case _:
            denoised = (sample - sigma * prediction) / max(alpha, _ALPHA_MIN)
    return noise_level, denoised


def moved(scheduler: Any, space: Space, index: int, prediction: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """The prediction whose clean latents are those of `prediction` plus `change`: `clean_latents` solved for it. All (B, C, h, w)."""
    if space is Space.FLOW:
        return prediction - change / max(float(scheduler.sigmas[index]), _ALPHA_MIN)
    _, alpha, sigma = signal_and_noise(scheduler, space, index)
    match scheduler.config["prediction_type"]:
        case "v_prediction":
            return prediction - change / max(sigma, _ALPHA_MIN)
        case "sample":
            return prediction + change
        case _:
            return prediction - change * max(alpha, _ALPHA_MIN) / max(sigma, _ALPHA_MIN)


def signal_and_noise(scheduler: Any, space: Space, index: int) -> tuple[float, float, float]:
    """Noise level σ/α, α and σ at step `index`, with α² + σ² = 1, before the scheduler has moved on."""
    if space is Space.ALPHAS:
        alpha_squared = float(scheduler.alphas_cumprod[int(scheduler.timesteps[index])])
        alpha, sigma = alpha_squared**0.5, (1 - alpha_squared) ** 0.5
        return sigma / max(alpha, 1e-8), alpha, sigma
    # The second half of a KDPM2 step lies between two noise levels.
    is_between = index % 2 == 1 and hasattr(scheduler, "sigmas_interpol")
    noise_level = float((scheduler.sigmas_interpol if is_between else scheduler.sigmas)[index])
    alpha = (1 + noise_level**2) ** -0.5
    return noise_level, alpha, noise_level * alpha
