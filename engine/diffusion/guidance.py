"""Classifier-free guidance (Ho & Salimans 2022, eq. 6), in the form that diffusers uses."""

from __future__ import annotations

import torch


def is_guided(guidance_scale: float) -> bool:
    """At 1 and below the unconditional half cancels out and is not computed."""
    return guidance_scale > 1.0


def guide(prediction: torch.Tensor, guidance_scale: float) -> torch.Tensor:
    """(2B, C, h, w) with the unconditional half first → (B, C, h, w)."""
    unconditional, conditional = prediction.chunk(2)
    return unconditional + guidance_scale * (conditional - unconditional)
