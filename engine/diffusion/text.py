"""Prompts to what a model is told: the grammar of prompts over the steps, in the voice of the model's family, and a cache of what was said."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from engine.contract.chunks import Run
from engine.contract.words import Passage, Timeline, parse_timeline, parse_weights, words_at
from engine.diffusion.conditioning import Embeds, Told, joined
from engine.diffusion.images import Rgb
from engine.diffusion.loading import Components
from engine.diffusion.references import Shown
from engine.diffusion.voices import SightedVoice, at_layer

_CACHED_BYTES = 32 * 1024**2


class PromptCache:
    """What encoders made of prompts, for all models at once, newest last, within a number of bytes."""

    def __init__(self, limit_bytes: int = _CACHED_BYTES) -> None:
        self._limit = limit_bytes
        self._said: OrderedDict[tuple[Any, ...], Told] = OrderedDict()
        self.bytes = 0

    def get(self, key: tuple[Any, ...]) -> Told | None:
        found = self._said.get(key)
        if found is not None:
            self._said.move_to_end(key)
        return found

    def put(self, key: tuple[Any, ...], told: Told) -> None:
        self._said[key] = told
        self.bytes += told.nbytes
        while self.bytes > self._limit:
            _, gone = self._said.popitem(last=False)
            self.bytes -= gone.nbytes

    def forget(self, is_spent: Callable[[tuple[Any, ...]], bool]) -> None:
        """Let go of what nobody asks for any more; keys as `PromptEncoder` makes them."""
        for key in [key for key in self._said if is_spent(key)]:
            self.bytes -= self._said.pop(key).nbytes

    def __len__(self) -> int:
        return len(self._said)


class PromptEncoder:
    """Embeddings of prompts for one loaded model. A repeated prompt costs no encoder run.

    `encoder` names the text encoders as they are on disk, `adapters` what changes them in this run: the same words are
    remembered apart for each.
    """

    def __init__(self, components: Components, *, cache: PromptCache | None = None, encoder: Hashable = None, adapters: Hashable = ()) -> None:
        self._components = components
        self._voice = components.voice
        self._cache = PromptCache() if cache is None else cache
        self._key = (encoder, components.dtype, adapters)
        self._layer: int | None = None
        self._learned: Mapping[str, torch.Tensor] = {}
        self._hashes: tuple[str, ...] = ()
        self._sight: tuple[str, ...] = ()
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
    def speaking_from(self, layer: int | None) -> Generator[None]:
        """While inside, words are what this layer of the text encoders makes of them, counted from the end; None is that of training."""
        self._layer = layer
        try:
            yield
        finally:
            self._layer = None

    @contextmanager
    def showing(self, shown: tuple[Shown, ...]) -> Generator[None]:
        """While inside, walks are told these reference pictures beside the words."""
        self.shown = shown
        try:
            yield
        finally:
            self.shown = ()

    @contextmanager
    def before(self, pictures: tuple[Rgb, ...], hashes: tuple[str, ...]) -> Generator[None]:
        """While inside, a family whose encoder sees says everything in front of these pictures, each (H, W, 3)."""
        voice = self._voice
        if isinstance(voice, SightedVoice):
            self._voice, self._sight = voice.before(pictures), hashes
            # What was said in front of others is long, and rarely said again.
            self._cache.forget(lambda key: key[-1] not in ((), hashes))
        try:
            yield
        finally:
            self._voice, self._sight = voice, ()

    def encode(self, prompt: str, negative_prompt: str | None) -> torch.Tensor:
        """(1, tokens, dim), or (2, tokens, dim) with the negative prompt first: the words alone, as long as the longer prompt needs.

        Words that change on the way are as in the first step.
        """
        texts = [prompt] if negative_prompt is None else [negative_prompt, prompt]
        return self.say([words_at(parse_timeline(text), 0, 1) for text in texts]).words

    def over_steps(self, prompt: str, negative_prompt: str | None, *, steps: int, count: int) -> Embeds:
        """What both say, each row `count` times, negative first; where words change on the way, what to say at each model call."""
        texts = [prompt] if negative_prompt is None else [negative_prompt, prompt]
        timed = _Timed(self, tuple(parse_timeline(text) for text in texts), steps, count)
        return timed if timed.changes else timed.at_step(0)

    def chunks(self, text: str) -> list[list[int]]:
        """Token ids in the runs that the encoder reads at once; at least one run, maybe empty."""
        return [[placed.token for placed in run] for run in self._runs(parse_weights(words_at(parse_timeline(text), 0, 1)))]

    def say(self, texts: list[str]) -> Told:
        """Texts that do not change any more, a row each in order, all as long as the longest."""
        read = [parse_weights(text) for text in texts]
        runs = max(len(self._runs(passages)) for passages in read)
        return joined([self._said(passages, runs) for passages in read])

    def _runs(self, passages: tuple[Passage, ...]) -> list[Run]:
        return self._voice.runs(passages, {name: len(vectors) for name, vectors in self._learned.items()})

    def _said(self, passages: tuple[Passage, ...], runs: int) -> Told:
        key = (self._key, passages, runs, self._hashes, self._layer, self._sight)
        if (known := self._cache.get(key)) is not None:
            return known
        self._components.use(*self._components.encoders)
        said = at_layer(self._voice, self._layer).say(passages, runs, self._learned).to(self._components.device)
        self._cache.put(key, said)
        return said


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

    def __call__(self, index: int, total: int) -> Told:
        # Second-order samplers call the model more often than there are steps: both calls of a step hear the same words.
        return self.at_step(index * self.steps // total)

    def at_step(self, step: int) -> Told:
        return self.encoder.say([words_at(timeline, step, self.steps) for timeline in self.timelines]).each(self.count)
