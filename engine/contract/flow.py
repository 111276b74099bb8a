"""How flow models lay out their steps: even noise levels, shifted so that a larger picture is held longer near the noise.

Without torch, so that a page can plot what a run will walk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# (scheduler settings, steps, tokens of the picture) → keyword arguments of a flow scheduler's `set_timesteps`.
FlowPlan = Callable[[Mapping[str, Any], int, int], dict[str, Any]]


def own_plan(config: Mapping[str, Any], steps: int, tokens: int) -> dict[str, Any]:
    """The scheduler's own levels; where its settings ask for it, shifted by the number of tokens."""
    return {"mu": shift_for(config, tokens)} if config.get("use_dynamic_shifting") else {}


def even_plan(config: Mapping[str, Any], steps: int, tokens: int) -> dict[str, Any]:
    """Even noise levels from 1 down, shifted by the number of tokens: a larger picture starts its detail later (Esser et al. 2024, section 5.3.2)."""
    return {"sigmas": np.linspace(1.0, 1 / steps, steps), "mu": shift_for(config, tokens)}


def measured_plan(config: Mapping[str, Any], steps: int, tokens: int) -> dict[str, Any]:
    """Even noise levels from 1 down, shifted as the authors of FLUX.2 measured it."""
    return {"sigmas": np.linspace(1.0, 1 / steps, steps), "mu": measured_shift(tokens, steps)}


def shift_for(config: Mapping[str, Any], tokens: int) -> float:
    """The shift μ between the two sizes that the settings name, on the line through them."""
    least, most = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (high - low) / (most - least)
    return tokens * slope + (low - slope * least)


def measured_shift(tokens: int, steps: int) -> float:
    """The shift μ that the authors of FLUX.2 measured: lines in the number of tokens at 10 and at 200 steps, and one in the steps between them."""
    many = 0.00016927 * tokens + 0.45666666
    if tokens > 4300:
        return many
    few = 8.73809524e-05 * tokens + 1.89833333
    slope = (many - few) / 190
    return slope * steps + many - 200 * slope
