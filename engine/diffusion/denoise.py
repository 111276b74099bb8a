"""The one denoising loop: a generator of steps. Whoever walks it decides about previews, stopping and keeping."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from engine.contract.schedulers import SchedulerName
from engine.diffusion.guidance import guide, is_guided
from engine.diffusion.schedulers import SAMPLERS, Space


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


def denoise(
    unet: Any,
    scheduler: Any,
    *,
    name: SchedulerName,
    noise: torch.Tensor,
    embeds: torch.Tensor,
    steps: int,
    guidance_scale: float,
    rng: Sequence[torch.Generator],
) -> Iterator[Step]:
    """Walk from `noise` (B, C, h, w) to clean latents.

    `embeds` is (2B, tokens, dim), negative half first, when guidance is on; else (B, tokens, dim). The sample stays in
    float32 while the model runs in its own dtype: sampler sums lose nothing and the seed means the same in any dtype.
    In float32 every value equals that of diffusers' StableDiffusionPipeline.
    """
    scheduler.set_timesteps(steps, device=noise.device)
    latents = noise * scheduler.init_noise_sigma
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {"generator": list(rng)} if takes_generator else {}
    total = len(scheduler.timesteps)
    for index, timestep in enumerate(scheduler.timesteps):
        doubled = torch.cat([latents] * 2) if is_guided(guidance_scale) else latents
        scaled = scheduler.scale_model_input(doubled, timestep).to(embeds.dtype)
        prediction = unet(scaled, timestep, encoder_hidden_states=embeds, return_dict=False)[0].float()
        if is_guided(guidance_scale):
            prediction = guide(prediction, guidance_scale)
        sigma, denoised = clean_latents(scheduler, SAMPLERS[name].space, index, prediction, latents)
        latents = scheduler.step(prediction, timestep, latents, return_dict=False, **options)[0]
        yield Step(index, total, float(timestep), sigma, latents, denoised)


def clean_latents(scheduler: Any, space: Space, index: int, prediction: torch.Tensor, latents: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Noise level and predicted clean latents at step `index`, before the scheduler has moved on.

    With x = α·x₀ + σ·ε: from ε, x₀ = (x − σ·ε) / α; from v, x₀ = α·x − σ·v (Salimans & Ho 2022, appendix D).
    """
    if space is Space.ALPHAS:
        alpha_squared = float(scheduler.alphas_cumprod[int(scheduler.timesteps[index])])
        alpha, sigma = alpha_squared**0.5, (1 - alpha_squared) ** 0.5
        noise_level = sigma / max(alpha, 1e-8)
    else:
        noise_level = float(scheduler.sigmas[index])
        alpha = (1 + noise_level**2) ** -0.5
        sigma = noise_level * alpha
    sample = latents * alpha if space is Space.VARIANCE_EXPLODING else latents
    match scheduler.config["prediction_type"]:
        case "v_prediction":
            denoised = alpha * sample - sigma * prediction
        case "sample":
            denoised = prediction
        case _:
            denoised = (sample - sigma * prediction) / max(alpha, 1e-4)
    return noise_level, denoised
