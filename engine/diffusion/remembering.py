"""Words are projected once a walk: cross-attention's keys and values hang on the words alone, which stay while the sample changes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch

# All rows, and the conditional half alone: what a guided, perturbed or windowed walk asks for in turn.
_KEPT = 2


class WordMemory:
    """What one walk remembers of the words. Made anew for each: another may come with other weights."""

    def __init__(self, network: Any) -> None:
        modules = network.named_modules() if isinstance(network, torch.nn.Module) else ()
        attention = [module for name, module in modules if name.endswith("attn2")]
        layers = [layer for module in attention for layer in (getattr(module, "to_k", None), getattr(module, "to_v", None))]
        self._layers: list[tuple[Any, list[tuple[torch.Tensor, torch.Tensor]]]] = [
            (layer, []) for layer in layers if isinstance(layer, torch.nn.Module)
        ]

    @contextmanager
    def at_hand(self) -> Generator[None]:
        """While inside, for one model call, each cross-attention (modules named attn2) gives what it gave before for the same tensor of words, bit for bit.

        Words must not be changed in place meanwhile, nor weights. A layer that comes and goes by a hook of its own is left alone.
        """
        free = [(layer, known) for layer, known in self._layers if "forward" not in vars(layer) and not hasattr(layer, "_diffusers_hook")]
        try:
            for layer, known in free:
                layer.forward = _remembering(layer.forward, known)
            yield
        finally:
            for layer, _ in free:
                # The instance attribute hid the class's own method; without it the layer is what it was.
                vars(layer).pop("forward", None)


def _remembering(forward: Callable[..., torch.Tensor], known: list[tuple[torch.Tensor, torch.Tensor]]) -> Callable[..., torch.Tensor]:
    def remembered(words: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        if rest or named or words.requires_grad:
            return forward(words, *rest, **named)
        for seen, answer in known:
            if _are_one(seen, words):
                return answer
        answer = forward(words)
        known.append((words, answer))
        del known[:-_KEPT]
        return answer

    return remembered


def _are_one(seen: torch.Tensor, words: torch.Tensor) -> bool:
    """Whether two names mean the same memory. What was seen is held, so nothing else can lie at its address."""
    same_place = seen.data_ptr() == words.data_ptr() and seen.device == words.device
    return same_place and seen.shape == words.shape and seen.stride() == words.stride() and seen.dtype == words.dtype
