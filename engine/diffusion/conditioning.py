"""What the denoiser is told at one model call: words, and the reference pictures that count at it, row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Seen:
    """A reference picture at one model call: `tokens` (R, n, dim) for adapter `place` of those in the model, with `weight`."""

    place: int
    tokens: torch.Tensor
    weight: float


@dataclass(frozen=True)
class Told:
    """`words` (R, tokens, dim) and the references beside them. R is rows: sets of words times pictures of the batch.

    Slices like a tensor, so that whoever runs some rows once more (guidance does) takes the pictures along with the words.
    """

    words: torch.Tensor
    seen: tuple[Seen, ...] = ()

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, rows: slice) -> Told:
        return Told(self.words[rows], tuple(Seen(one.place, one.tokens[rows], one.weight) for one in self.seen))

    @property
    def dtype(self) -> torch.dtype:
        return self.words.dtype

    def inputs(self) -> dict[str, Any]:
        """Keyword arguments of a UNet. Without references they are those of any UNet; with, of one inside `references.applied`."""
        plain: dict[str, Any] = {"encoder_hidden_states": self.words}
        # The one name for pictures that diffusers' attention lets through without a warning to layers that do not look.
        return {**plain, "cross_attention_kwargs": {"ip_hidden_states": self.seen}} if self.seen else plain


# What a walk is told: the same at every model call, or (index of the model call, number of calls) → what then.
Embeds = torch.Tensor | Callable[[int, int], torch.Tensor | Told]


def tell(embeds: Embeds, index: int, total: int) -> Told:
    """What is said and shown at model call `index` (from 0) of `total`."""
    now = embeds if isinstance(embeds, torch.Tensor) else embeds(index, total)
    return now if isinstance(now, Told) else Told(now)
