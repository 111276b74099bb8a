"""Samplers of diffusers with a fault of their own put right; tests/diffusion/test_mended.py shows each fault and its mending."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_k_dpm_2_ancestral_discrete import KDPM2AncestralDiscreteScheduler
from diffusers.schedulers.scheduling_k_dpm_2_discrete import KDPM2DiscreteScheduler
from diffusers.schedulers.scheduling_lms_discrete import LMSDiscreteScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler


class MendedLMS(LMSDiscreteScheduler):
    """Linear multistep (Liu et al. 2022, in the form of k-diffusion).

    diffusers takes the order from the place in the schedule, not from the derivatives that it has: a walk of the last
    18 of 30 steps loses 5 % of the spread. Its coefficients are integrals of polynomials, so they need no quadrature,
    and scipy need not be there.
    """

    def get_lms_coefficient(self, order: int, t: int, current_order: int) -> float:
        """∫ of the Lagrange polynomial of node `current_order` over the step from sigma `t` to the next."""
        nodes = [float(self.sigmas[t - k] - self.sigmas[t]) for k in range(order)]
        others = [node for k, node in enumerate(nodes) if k != current_order]
        scale = float(np.prod([nodes[current_order] - node for node in others]))
        integral = np.polyint(np.atleast_1d(np.poly(others)))
        return float(np.polyval(integral, float(self.sigmas[t + 1] - self.sigmas[t]))) / scale

    def step(self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, order: int = 4, return_dict: bool = True) -> Any:
        return super().step(model_output, timestep, sample, min(order, len(self.derivatives) + 1), return_dict)


class MendedPNDM(PNDMScheduler):
    """Pseudo linear multistep (Liu et al. 2022, algorithm 2, with the first step taken twice).

    diffusers expects the repeated step wherever a walk begins, and repeats it only at the start of the schedule: a walk
    of the last 18 of 30 steps is a step behind its noise.
    """

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Repeat the second step of the walk that begins at step `begin_index`, and no other."""
        own = torch.from_numpy(np.array(self._timesteps)[::-1].astype(np.int64)).to(self.timesteps.device)
        walk = own[begin_index:]
        self.timesteps = torch.cat([own[:begin_index], walk[:2], walk[1:]])


class MendedKDPM2(KDPM2DiscreteScheduler):
    """DPM-Solver-2 (Lu et al. 2022, algorithm 1). diffusers hands tensors to NumPy here, which NumPy will refuse one day."""

    def _sigma_to_t(self, sigma: Any, log_sigmas: Any) -> np.ndarray:
        return super()._sigma_to_t(np.asarray(sigma), np.asarray(log_sigmas))


class MendedKDPM2Ancestral(KDPM2AncestralDiscreteScheduler):
    """The same with ancestral noise, mended alike."""

    def _sigma_to_t(self, sigma: Any, log_sigmas: Any) -> np.ndarray:
        return super()._sigma_to_t(np.asarray(sigma), np.asarray(log_sigmas))
