"""Prompts to embeddings: chunks of 75 tokens, so that long prompts are read whole, weights, and a small cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from engine.contract.chunks import Run, lay_out
from engine.contract.words import Passage, Timeline, parse_timeline, parse_weights, words_at
from engine.diffusion.conditioning import Embeds
from engine.diffusion.embeddings import Spoken, spoken
from engine.diffusion.loading import Components
from engine.diffusion.references import Shown

_CACHED_PROMPTS = 64
# Below this share of their mean size the values are balanced around zero, and their mean says nothing about their scale.
_BALANCED = 0.02


class PromptEncoder:
    """Embeddings of prompts for one loaded model. A repeated prompt costs no encoder run."""

    def __init__(self, components: Components) -> None:
        self._text_encoder = components.text_encoder
        self._tokenizer = components.tokenizer
        self._device = components.device
        self._cache: OrderedDict[tuple[tuple[Passage, ...], int, tuple[str, ...]], torch.Tensor] = OrderedDict()
        self._learned: Mapping[str, torch.Tensor] = {}
        self._hashes: tuple[str, ...] = ()
        self.shown: tuple[Shown, ...] = ()

    @contextmanager
    def knowing(self, learned: Mapping[str, torch.Tensor], hashes: Mapping[str, str]) -> Generator[None]:
        """While inside, prompts may name these embeddings: (n, dim) by name, with the hashes of their files."""
        self._learned, self._hashes = learned, tuple(f"{name}:{hashes[name]}" for name in sorted(learned))
        try:
            yield
        finally:
            self._learned, self._hashes = {}, ()

    @contextmanager
    def showing(self, shown: tuple[Shown, ...]) -> Generator[None]:
        """While inside, walks are told these reference pictures beside the words."""
        self.shown = shown
        try:
            yield
        finally:
            self.shown = ()

    def encode(self, prompt: str, negative_prompt: str | None) -> torch.Tensor:
        """(1, 77·k, dim), or (2, 77·k, dim) with the negative prompt first; k is the number of chunks of the longer one.

        Words that change on the way are as in the first step.
        """
        texts = [prompt] if negative_prompt is None else [negative_prompt, prompt]
        return self.encode_texts([words_at(parse_timeline(text), 0, 1) for text in texts])

    def over_steps(self, prompt: str, negative_prompt: str | None, *, steps: int, count: int) -> Embeds:
        """Like `encode`, each row `count` times; where words change on the way, what to say at each model call."""
        texts = [prompt] if negative_prompt is None else [negative_prompt, prompt]
        timed = _Timed(self, tuple(parse_timeline(text) for text in texts), steps, count)
        return timed if timed.changes else timed.at_step(0)

    def chunks(self, text: str) -> list[list[int]]:
        """Token ids in runs that leave room for the start and end tokens; at least one run, maybe empty."""
        return [[placed.token for placed in run] for run in self._runs(parse_weights(words_at(parse_timeline(text), 0, 1)))]

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        """Texts that do not change any more, each (1, 77·k, dim) in order, k the number of chunks of the longest."""
        read = [parse_weights(text) for text in texts]
        chunks = max(len(self._runs(passages)) for passages in read)
        return torch.cat([self._embed(passages, chunks) for passages in read])

    def _runs(self, passages: tuple[Passage, ...]) -> list[Run]:
        sizes = {name: len(vectors) for name, vectors in self._learned.items()}
        return lay_out(passages, self._tokens, room=self._tokenizer.model_max_length - 2, embeddings=sizes)

    def _tokens(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids

    def _embed(self, passages: tuple[Passage, ...], chunks: int) -> torch.Tensor:
        key = (passages, chunks, self._hashes)
        if (known := self._cache.get(key)) is not None:
            self._cache.move_to_end(key)
            return known
        runs = self._runs(passages)
        runs += [[] for _ in range(chunks - len(runs))]
        ids = torch.tensor([self._framed(run) for run in runs], device=self._device)
        with spoken(self._text_encoder, self._places(runs)):
            states = self._text_encoder(ids, attention_mask=None).last_hidden_state
        states = weigh(states, [[placed.weight for placed in run] for run in runs])
        embeds = states.reshape(1, -1, states.shape[-1])
        self._cache[key] = embeds
        if len(self._cache) > _CACHED_PROMPTS:
            self._cache.popitem(last=False)
        return embeds

    def _places(self, runs: list[Run]) -> list[Spoken]:
        """Where vectors stand, one token behind their place in the run: the start token comes first."""
        return [
            Spoken(chunk, position + 1, self._learned[placed.vector[0]][placed.vector[1]])
            for chunk, run in enumerate(runs)
            for position, placed in enumerate(run)
            if placed.vector is not None
        ]

    def _framed(self, run: Run) -> list[int]:
        tokenizer: Any = self._tokenizer
        padding = [tokenizer.pad_token_id] * (tokenizer.model_max_length - 2 - len(run))
        return [tokenizer.bos_token_id, *(placed.token for placed in run), tokenizer.eos_token_id, *padding]


@dataclass(frozen=True)
class _Timed:
    """Prompts over the steps, negative first. Encoded when their step comes: the encoder's cache remembers them."""

    encoder: PromptEncoder
    timelines: tuple[Timeline, ...]
    steps: int
    count: int

    @property
    def changes(self) -> bool:
        return any(not isinstance(part, str) for timeline in self.timelines for part in timeline)

    def __call__(self, index: int, total: int) -> torch.Tensor:
        # Second-order samplers call the model more often than there are steps: both calls of a step hear the same words.
        return self.at_step(index * self.steps // total)

    def at_step(self, step: int) -> torch.Tensor:
        texts = [words_at(timeline, step, self.steps) for timeline in self.timelines]
        embeds = self.encoder.encode_texts(texts)
        return embeds.repeat_interleave(self.count, dim=0)


def weigh(states: torch.Tensor, weights: list[list[float]]) -> torch.Tensor:
    """Encoder output (k, 77, dim) with each token's values times its weight; start, end and padding tokens count 1.

    As AUTOMATIC1111 does by default, each chunk is then scaled so that the mean over its 77·dim values is what it was.
    Encoders whose values balance around zero (the starter's do; CLIP ViT-L's mean is about −0.1) have no such mean to
    restore: the ratio of two chance numbers would scale the prompt by anything. Their chunks stay as weighted. A chunk
    in which every weight is 1 is returned bit for bit.
    """
    if all(weight == 1 for run in weights for weight in run):
        return states
    weighted: list[torch.Tensor] = []
    for chunk, run in zip(states, weights, strict=True):
        if all(weight == 1 for weight in run):
            weighted.append(chunk)
            continue
        factors = torch.ones(len(chunk), 1, device=chunk.device)
        factors[1 : 1 + len(run), 0] = torch.tensor(run, device=chunk.device)
        before = chunk.float()
        after = before * factors
        if _has_mean(before) and _has_mean(after):
            after = after * (before.mean() / after.mean())
        weighted.append(after.to(chunk.dtype))
    return torch.stack(weighted)


def _has_mean(values: torch.Tensor) -> bool:
    return bool(values.mean().abs() > _BALANCED * values.abs().mean())
