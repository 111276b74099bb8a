"""A stand-in for the model that is never wrong: the exact prediction for data that is N(mean, spread²), value by value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

# Timestep → the timestep that the sampler will jump to; below 0 means clean.
Jump = Callable[[float], int]


class ExactModel:
    """Called like a UNet. `jump` makes it a distilled model instead: its prediction carries x there without error.

    With x = α·x₀ + σ·ε and x₀ ~ N(m, s²), E[x₀|x] = m + α·s²/(α²·s² + σ²)·(x − α·m), and the probability flow keeps
    z = (x − α·m)/√(α²·s² + σ²) (Song et al. 2021, eq. 13).
    """

    def __init__(self, config: dict[str, Any], *, mean: float, spread: float, jump: Jump | None = None) -> None:
        alphas = DDIMScheduler.from_config(config).alphas_cumprod.double().clamp(min=2.0**-24)
        self._log_sigmas = ((1 - alphas) / alphas).sqrt().log()
        self._is_v = config["prediction_type"] == "v_prediction"
        self._mean, self._spread, self._jump = mean, spread, jump

    def levels(self, timestep: float) -> tuple[float, float]:
        """α and σ; between two timesteps log(σ/α) is straight. Below 0 there is no noise."""
        if timestep < 0:
            return 1.0, 0.0
        low = min(int(timestep), len(self._log_sigmas) - 2)
        sigma = float(torch.lerp(self._log_sigmas[low], self._log_sigmas[low + 1], timestep - low).exp())
        alpha = (1 + sigma**2) ** -0.5
        return alpha, sigma * alpha

    def __call__(self, sample: torch.Tensor, timestep: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        t, x = float(timestep), sample.double()
        alpha, sigma = self.levels(t)
        mean, variance = self._mean, self._spread**2
        if self._jump is None:
            clean = mean + alpha * variance / (alpha**2 * variance + sigma**2) * (x - alpha * mean)
        else:
            to_alpha, to_sigma = self.levels(self._jump(t))
            z = (x - alpha * mean) / (alpha**2 * variance + sigma**2) ** 0.5
            there = to_alpha * mean + (to_alpha**2 * variance + to_sigma**2) ** 0.5 * z
            # x₀ from x = α·x₀ + σ·ε and there = α'·x₀ + σ'·ε.
            clean = (sigma * there - to_sigma * x) / (sigma * to_alpha - to_sigma * alpha)
        noise = (x - alpha * clean) / sigma
        return ((alpha * noise - sigma * clean if self._is_v else noise).float(),)
