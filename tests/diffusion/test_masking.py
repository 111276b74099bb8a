"""What an inpainting run works on, without a model."""

from __future__ import annotations

import numpy as np

from engine.contract.recipe import Recipe
from engine.diffusion.masking import plan_repaint, put_back


def test_a_grown_frame_meets_the_old_picture_without_a_step() -> None:
    """A drawing that is 20 levels too dark all over: at the seam it must be as light as the old picture."""
    source = np.full((128, 128, 3), 120, np.uint8)
    recipe = Recipe.model_validate({
        "mode": "inpaint", "model": "m", "model_hash": "", "prompt": "x", "negative_prompt": "", "steps": 1, "guidance_scale": 1.0, "scheduler": "euler",
        "width": 128, "height": 128, "seed": 1, "count": 1, "source": "0" * 64, "strength": 1.0, "region": "masked", "padding": 32, "feather": 8.0,
        "is_soft": False, "fill": "neighbours", "expand_right": 64,
    })  # fmt: skip
    plan = plan_repaint(recipe, source, None)
    made = put_back(plan, np.full_like(plan.part, 100)).astype(int)
    steps = np.abs(np.diff(made[..., 0], axis=1))
    print(f"largest step from column to column: {steps.max()} of 20")
    assert steps.max() <= 4
    assert (made[:, : 128 - 20] == 120).all()
