"""Score guidance: a second model looks at the clean picture that each step predicts, and draws it towards what it is asked for.

Dhariwal & Nichol (2021, algorithm 2) add σ²·∇ log p(target | x) to where a step goes. Here the gradient is taken at the
predicted clean latents x̂₀ and not carried back through the denoiser, as in manifold preserving guidance (He et al.
2024) and the backward half of universal guidance (Bansal et al. 2023): that halves the cost, needs no second copy of the
denoiser's activations, and is steadier where the prediction is still vague. What moves is x̂₀; the prediction follows from
it by the relation that every sampler shares, so all samplers of the table can be drawn along.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch

from engine.contract.errors import InvalidRequest
from engine.contract.guidance import SCORE_LABELS, parse_target
from engine.contract.recipe import Recipe
from engine.contract.words import parse_timeline, parse_weights, words_at
from engine.diffusion.latents import decode
from engine.diffusion.loading import SCORER, Components

# (predicted clean latents (B, C, h, w), noise level σ/α) → what to add to them.
Nudge = Callable[[torch.Tensor, float], torch.Tensor]

# A scale of 100 is this many times the gradient of the log score: found on the starter (tests/starter/test_score_guidance.py).
_STRENGTH = 25.0
# No step moves the picture by more than this share of its own spread: a scorer that is fooled must not burn it.
_STEP_MAX = 0.25


def score_nudge(components: Components, recipe: Recipe) -> Nudge | None:
    """What draws the pictures of this recipe; None where it asks for none. Raises `InvalidRequest` about "score_guidance" without a scorer."""
    if recipe.score_guidance is None or not recipe.score_scale:
        return None
    scorer = components.scorer
    if scorer is None:
        label = SCORE_LABELS[recipe.score_guidance]
        raise InvalidRequest(f"{label} is not available: this model brings no scorer.", "Turn it off, or choose a model with one.", "score_guidance")
    target, rivals = parse_target(recipe.score_guidance, recipe.score_target or "")
    return ScoreNudge(components, scorer, (target or plain_words(recipe), *rivals), scale=recipe.score_scale / 100 * _STRENGTH)


def plain_words(recipe: Recipe) -> str:
    """The prompt as it reads at the end of the walk, without weights and brackets."""
    words = words_at(parse_timeline(recipe.prompt), recipe.steps_run - 1, max(recipe.steps_run, 1))
    return " ".join(piece.text.strip() for passage in parse_weights(words) for piece in passage if piece.text.strip())


class ScoreNudge:
    """Towards the first of `texts`: by its cosine with the picture (Radford et al. 2021), or, where there are others, by its share against them."""

    def __init__(self, components: Components, scorer: Any, texts: tuple[str, ...], *, scale: float) -> None:
        self._components = components
        self._scorer = scorer
        self._scale = scale
        # While pictures are looked at it is there: it comes with the VAE.
        if components.stay is not None:
            components.stay.bring(SCORER)
        with _with_gradients():
            self._texts: torch.Tensor = scorer.text_features(texts)

    def __call__(self, denoised: torch.Tensor, noise_level: float) -> torch.Tensor:
        """(B, C, h, w) to add to `denoised`. The weight σ²/(α² + σ²) is how far clean latents of unit spread are still open."""
        with _with_gradients():
            clean = denoised.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self._log_score(clean).sum(), clean)
        step = self._scale * noise_level**2 / (1 + noise_level**2) * gradient.float()
        longest = _STEP_MAX * denoised.std((1, 2, 3), keepdim=True)
        size = step.square().mean((1, 2, 3), keepdim=True).sqrt()
        return step * (longest / size.clamp(min=1e-12)).clamp(max=1.0)

    def _log_score(self, clean: torch.Tensor) -> torch.Tensor:
        """(B) log of what the scorer makes of the pictures."""
        seen = self._scorer.image_features(decode(self._components, clean).clamp(-1, 1))
        logits = self._scorer.logit_scale * seen @ self._texts.T
        return logits[:, 0] if logits.shape[1] == 1 else logits.log_softmax(1)[:, 0]


@contextmanager
def _with_gradients() -> Generator[None]:
    # The loop runs without them; tensors that are made here can be derived.
    with torch.inference_mode(False), torch.enable_grad():
        yield
