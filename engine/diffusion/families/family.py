"""What the engine has to know about a family of models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A row of the table: which component classes may be loaded and how latents look.

    `components` maps a name in `model_index.json` to the class names that are accepted there.
    `preview_matrix` (c × 3) and `preview_bias` (3) turn predicted clean latents into RGB in [-1, 1]; a model's own
    `easel.json` may bring better ones.
    """

    key: str
    title: str
    components: dict[str, frozenset[str]]
    preview_matrix: tuple[tuple[float, float, float], ...]
    preview_bias: tuple[float, float, float]
