"""What the denoiser is told at one model call: words, what stands beside them, and the reference pictures that count at it, row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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

    `aside` is what a family wants to be told with the words, by name, each (R, …): "pooled", what a whole prompt comes to
    (R, dim), "mask", which tokens count (R, tokens). `beside` are latents of pictures, each (R, C, h, w), that an editing
    model reads beside its sample. Slices like a tensor, so that whoever runs some rows once more (guidance does) takes
    everything along with the words.
    """

    words: torch.Tensor
    seen: tuple[Seen, ...] = ()
    aside: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    beside: tuple[torch.Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, rows: slice) -> Told:
        return Told(
            self.words[rows],
            tuple(Seen(one.place, one.tokens[rows], one.weight) for one in self.seen),
            {name: value[rows] for name, value in self.aside.items()},
            tuple(one[rows] for one in self.beside),
        )

    @property
    def dtype(self) -> torch.dtype:
        return self.words.dtype

    @property
    def nbytes(self) -> int:
        """What the words and what stands beside them take; references are counted elsewhere."""
        return self.words.nbytes + sum(value.nbytes for value in (*self.aside.values(), *self.beside))

    def to(self, device: torch.device) -> Told:
        """On the device that draws, wherever the words were read."""
        aside = {name: value.to(device) for name, value in self.aside.items()}
        return replace(self, words=self.words.to(device), aside=aside, beside=tuple(one.to(device) for one in self.beside))

    def each(self, count: int) -> Told:
        """Every row `count` times, one after the other. References and pictures beside the sample join later."""
        return Told(
            self.words.repeat_interleave(count, dim=0), aside={name: value.repeat_interleave(count, dim=0) for name, value in self.aside.items()}
        )

    def inputs(self) -> dict[str, Any]:
        """Keyword arguments of a UNet. Without references they are those of any UNet; with, of one inside `references.applied`."""
        plain: dict[str, Any] = {"encoder_hidden_states": self.words}
        # The one name for pictures that diffusers' attention lets through without a warning to layers that do not look.
        return {**plain, "cross_attention_kwargs": {"ip_hidden_states": self.seen}} if self.seen else plain


def joined(rows: Sequence[Told]) -> Told:
    """Several prompts under each other. Shorter ones are filled up with zeros, which their mask leaves out."""
    longest = max(row.words.shape[1] for row in rows)
    words = torch.cat([_padded(row.words, longest) for row in rows])
    aside = {name: torch.cat([_padded(row.aside[name], longest) if name == "mask" else row.aside[name] for row in rows]) for name in rows[0].aside}
    return Told(words, aside=aside)


def _padded(values: torch.Tensor, length: int) -> torch.Tensor:
    missing = length - values.shape[1]
    return torch.cat([values, values.new_zeros(values.shape[0], missing, *values.shape[2:])], dim=1) if missing else values


# What a walk is told: the same at every model call, or (index of the model call, number of calls) → what then.
Embeds = torch.Tensor | Told | Callable[[int, int], torch.Tensor | Told]


def tell(embeds: Embeds, index: int, total: int) -> Told:
    """What is said and shown at model call `index` (from 0) of `total`."""
    now = embeds if isinstance(embeds, torch.Tensor | Told) else embeds(index, total)
    return now if isinstance(now, Told) else Told(now)
