"""How long a recipe takes: work units from the recipe, seconds per unit learned from what has been drawn."""

from __future__ import annotations

from engine.contract.guidance import SCORE_CALLS
from engine.contract.recipe import Recipe
from engine.contract.schedulers import model_calls
from engine.contract.tiles import plan_tiles

# What a reference picture adds to a model call, as a share of it (the starter on a CPU, 256 × 256; less on larger models).
_REFERENCE_COST = 0.06


def work(recipe: Recipe, source: tuple[int, int] | None = None) -> float:
    """Megapixel-steps of the whole batch, each as often as its guidance runs the model in it.

    `source` is the size of the source picture: an enlargement draws as many tiles as that asks for.
    """
    megapixels = recipe.width * recipe.height / 1e6
    calls = recipe.guidance.count_passes(model_calls(recipe.scheduler, recipe.steps_run), SCORE_CALLS if recipe.score_guidance else 0.0)
    calls *= 1 + _REFERENCE_COST * sum(use.end - use.start for use in recipe.references or ())
    if recipe.mode == "upscale":
        width, height = ((edge * (recipe.factor or 2)) for edge in source or (recipe.width, recipe.height))
        tiles = len(plan_tiles(max(width, recipe.width), max(height, recipe.height), recipe.width, recipe.height, recipe.overlap or 0))
        # Encoding, decoding and the enlargement itself weigh about two steps a tile.
        return megapixels * (calls + 2) * tiles * recipe.count
    return megapixels * calls * recipe.count


class Estimates:
    """A running mean of seconds per work unit for each model; recent jobs weigh more, so a slower machine shows soon."""

    def __init__(self, weight_of_newest: float = 0.3) -> None:
        self._rate: dict[str, float] = {}
        self._weight = weight_of_newest

    def learn(self, recipe: Recipe, seconds: float, source: tuple[int, int] | None = None) -> None:
        rate = seconds / work(recipe, source)
        known = self._rate.get(recipe.model_hash)
        self._rate[recipe.model_hash] = rate if known is None else known + self._weight * (rate - known)

    def seconds(self, recipe: Recipe, source: tuple[int, int] | None = None) -> float | None:
        """None until one picture of this model has been drawn."""
        rate = self._rate.get(recipe.model_hash)
        return None if rate is None else rate * work(recipe, source)
