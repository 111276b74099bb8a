"""Guidance: from what the model predicts with and without the words to the prediction that a sampler goes by.

Predictions are (B, C, h, w) float32 and of any type: noise, velocity or clean latents. Each formula equals that of
diffusers' guider of the same name (tests/diffusion/test_guidance_equality.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from engine.contract.guidance import GuidancePlan, is_guided
from engine.diffusion.conditioning import Told
from engine.diffusion.perturbation import perturbed

__all__ = ["Guide", "apg", "cfg", "cfg_zero_star", "is_guided", "rescale", "tangential"]

# n things to tell the model, n·B rows → predictions (n·B, C, h, w) for the same B latents.
Predict = Callable[[Told], torch.Tensor]

# APG (Sadat et al. 2024): a momentum that leaves out what the last call gave already, and the longest step.
APG_MOMENTUM, APG_LENGTH = -0.5, 15.0


class Guide:
    """How one walk is guided. Made anew for each: APG remembers the calls before."""

    def __init__(self, plan: GuidancePlan, network: Any, settle: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None) -> None:
        self._plan = plan
        self._network = network
        self._settle = settle
        self._momentum: torch.Tensor | None = None

    def predict(self, predict: Predict, told: Told, *, batch: int, index: int, calls: int) -> torch.Tensor:
        """(B, C, h, w). `told` has the negative half first where the plan uses it; `batch` is B, `index` the model call."""
        plan = self._plan
        if not plan.is_active(index, calls):
            return predict(told[-batch:])
        prediction = predict(told)
        conditional = prediction[-batch:]
        guided = conditional
        if plan.uses_negative:
            guided = self._guided(prediction[:batch], conditional)
            guided = guided if self._settle is None else self._settle(guided, conditional)
        if plan.is_perturbed:
            with perturbed(self._network, plan.style):
                guided = guided + plan.perturbed_scale * (conditional - predict(told[-batch:]))
        return rescale(guided, conditional, plan.rescale) if plan.rescale else guided

    def _guided(self, unconditional: torch.Tensor, conditional: torch.Tensor) -> torch.Tensor:
        scale = self._plan.scale
        match self._plan.style:
            case "cfg_zero_star":
                return cfg_zero_star(unconditional, conditional, scale)
            case "apg":
                change = conditional - unconditional
                self._momentum = change if self._momentum is None else change + APG_MOMENTUM * self._momentum
                return apg(conditional, self._momentum, scale)
            case "tangential":
                return tangential(unconditional, conditional, scale)
            case _:
                return cfg(unconditional, conditional, scale)


def cfg(unconditional: torch.Tensor, conditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Classifier-free guidance (Ho & Salimans 2022, eq. 6), in the form that diffusers uses."""
    return unconditional + scale * (conditional - unconditional)


def cfg_zero_star(unconditional: torch.Tensor, conditional: torch.Tensor, scale: float) -> torch.Tensor:
    """CFG-Zero* (Fan et al. 2025, eq. 13): the unconditional side is first scaled to fit the conditional one in the least squares.

    Their zero steps at the start are for flow models; on these they would only lose the first steps.
    """
    axes = (1, 2, 3)
    share = (conditional * unconditional).sum(axes, keepdim=True) / (unconditional.square().sum(axes, keepdim=True) + 1e-8)
    return cfg(unconditional * share, conditional, scale)


def apg(conditional: torch.Tensor, change: torch.Tensor, scale: float) -> torch.Tensor:
    """Adaptive projected guidance (Sadat et al. 2024, algorithm 1) with η = 0: what of `change` turns the prediction, and nothing along it.

    `change` is conditional minus unconditional with its momentum; what is longer than `APG_LENGTH` is shortened to it. From
    the conditional prediction on, as the authors write it: diffusers' default begins at the unconditional one, which
    loses what lies along the prediction also from guidance 1, and turns pictures grey.
    """
    axes = (1, 2, 3)
    change = change * (APG_LENGTH / torch.linalg.vector_norm(change, dim=axes, keepdim=True)).clamp(max=1.0)
    # In float64, as the authors do: the two lie nearly along each other.
    exact, along = change.double(), conditional.double()
    along = along / torch.linalg.vector_norm(along, dim=axes, keepdim=True).clamp(min=1e-12)
    across = exact - (exact * along).sum(axes, keepdim=True) * along
    return conditional + (scale - 1) * across.to(change.dtype)


def tangential(unconditional: torch.Tensor, conditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Tangential classifier-free guidance (Kwon et al. 2025): the unconditional side keeps only what lies along the pair's main direction."""
    both = torch.stack([conditional.flatten(1), unconditional.flatten(1)], dim=1)
    main = torch.linalg.svd(both, full_matrices=False).Vh[:, :1]
    kept = (unconditional.flatten(1)[:, None] @ main.transpose(1, 2)) @ main
    return cfg(kept.reshape(unconditional.shape), conditional, scale)


def rescale(guided: torch.Tensor, conditional: torch.Tensor, share: float) -> torch.Tensor:
    """Guidance brought back to the spread of the conditional prediction by `share`, 0 to 1 (Lin et al. 2024, eqs. 15 and 16)."""
    axes = (1, 2, 3)
    narrowed = guided * (conditional.std(axes, keepdim=True) / guided.std(axes, keepdim=True))
    return share * narrowed + (1 - share) * guided
