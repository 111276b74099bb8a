"""Voices: what the text encoders of a family make of words. One prompt in, one row of `Told` out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch

from engine.contract.chunks import Placed, Run, lay_out
from engine.contract.words import Passage
from engine.diffusion.conditioning import Told
from engine.diffusion.embeddings import Spoken, spoken
from engine.diffusion.images import Rgb

# Below this share of their mean size the values are balanced around zero, and their mean says nothing about their scale.
_BALANCED = 0.02
# Vectors of learned embeddings by name, (n, dim); where two encoders read, those of both side by side.
Learned = Mapping[str, torch.Tensor]


class Voice(Protocol):
    """What a family makes of words."""

    def runs(self, passages: tuple[Passage, ...], sizes: Mapping[str, int]) -> list[Run]:
        """Tokens in the runs that the encoder reads at once; at least one. `sizes` are numbers of vectors of learned embeddings by name."""
        ...

    def say(self, passages: tuple[Passage, ...], runs: int, learned: Learned) -> Told:
        """One row that is `runs` runs long, so that both halves of a guided walk have one length."""
        ...


@runtime_checkable
class LearningVoice(Protocol):
    """A voice that takes learned embeddings. `widths` are those of its encoders' input embeddings, whose vectors stand side by side in one learned one."""

    @property
    def widths(self) -> tuple[int, ...]: ...


@runtime_checkable
class SightedVoice(Protocol):
    """A voice whose encoder sees: words mean something else in front of other pictures."""

    def before(self, pictures: tuple[Rgb, ...]) -> Voice:
        """The voice in front of these pictures, each (H, W, 3)."""
        ...


@dataclass(frozen=True)
class ClipPart:
    """A CLIP text encoder with its tokenizer. Reads 75 tokens at once, between a start and an end."""

    encoder: Any
    tokenizer: Any

    @property
    def width(self) -> int:
        return int(self.encoder.config.hidden_size)

    def runs(self, passages: tuple[Passage, ...], sizes: Mapping[str, int]) -> list[Run]:
        return lay_out(passages, self._tokens, room=self.tokenizer.model_max_length - 2, embeddings=sizes)

    def filled(self, passages: tuple[Passage, ...], runs: int, learned: Learned) -> list[Run]:
        laid = self.runs(passages, {name: len(vectors) for name, vectors in learned.items()})
        return laid + [[] for _ in range(runs - len(laid))]

    def read(self, runs: list[Run], learned: Learned, *, hidden: bool = False) -> Any:
        """What the encoder answers to (k, 77) tokens, with learned vectors in their places."""
        ids = torch.tensor([self._framed(run) for run in runs], device=self.encoder.device)
        with spoken(self.encoder, _places(runs, learned)):
            return self.encoder(ids, attention_mask=None, output_hidden_states=hidden)

    def _tokens(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids

    def _framed(self, run: Run) -> list[int]:
        padding = [self.tokenizer.pad_token_id] * (self.tokenizer.model_max_length - 2 - len(run))
        return [self.tokenizer.bos_token_id, *(placed.token for placed in run), self.tokenizer.eos_token_id, *padding]


@dataclass(frozen=True)
class ClipVoice:
    """One CLIP encoder: Stable Diffusion 1.x. `layer` counts from its end; that of training is the last, 1."""

    part: ClipPart
    layer: int = 1

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.part.width,)

    def runs(self, passages: tuple[Passage, ...], sizes: Mapping[str, int]) -> list[Run]:
        return self.part.runs(passages, sizes)

    def say(self, passages: tuple[Passage, ...], runs: int, learned: Learned) -> Told:
        laid = self.part.filled(passages, runs, learned)
        if self.layer == 1:
            states = self.part.read(laid, learned).last_hidden_state
        else:
            # What an earlier layer says goes through the norm that stands behind the last one.
            said = self.part.read(laid, learned, hidden=True).hidden_states[-self.layer]
            states = getattr(self.part.encoder, "text_model", self.part.encoder).final_layer_norm(said)
        states = weigh(states, _weights(laid))
        return Told(states.reshape(1, -1, states.shape[-1]))


@dataclass(frozen=True)
class TwoClipsVoice:
    """Two CLIP encoders side by side, and what the second makes of the whole prompt (Podell et al. 2023, section 2.1).

    `is_silent_when_empty`: the model was trained to hear zeros where nothing is said. `layer` counts from the end of
    both; that of training is the last but one, 2.
    """

    parts: tuple[ClipPart, ClipPart]
    is_silent_when_empty: bool = False
    layer: int = 2

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(part.width for part in self.parts)

    def runs(self, passages: tuple[Passage, ...], sizes: Mapping[str, int]) -> list[Run]:
        return self.parts[0].runs(passages, sizes)

    def say(self, passages: tuple[Passage, ...], runs: int, learned: Learned) -> Told:
        words, pooled = read_clips(self.parts, passages, runs, learned, layer=self.layer)
        if self.is_silent_when_empty and not sentence(passages):
            words, pooled = torch.zeros_like(words), {name: torch.zeros_like(value) for name, value in pooled.items()}
        return Told(words, aside={"pooled": pooled["second"]})


def at_layer(voice: Voice, layer: int | None) -> Voice:
    """A voice that speaks from another layer of its encoders, counted from the end; None leaves it at that of training."""
    return replace(voice, layer=layer) if layer is not None and isinstance(voice, ClipVoice | TwoClipsVoice) else voice


def read_clips(
    parts: tuple[ClipPart, ClipPart], passages: tuple[Passage, ...], runs: int, learned: Learned, *, layer: int = 2
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Weighted states of both, (1, 77·k, d₁ + d₂), and what each makes of the first run as a whole, (1, p)."""
    states: list[torch.Tensor] = []
    pooled: dict[str, torch.Tensor] = {}
    begin = 0
    for name, part in zip(("first", "second"), parts, strict=True):
        laid = part.filled(passages, runs, learned)
        answer = part.read(laid, {word: vectors[:, begin : begin + part.width] for word, vectors in learned.items()}, hidden=True)
        begin += part.width
        found = weigh(answer.hidden_states[-layer], _weights(laid))
        states.append(found.reshape(1, -1, found.shape[-1]))
        # A projected encoder answers with its projection first; another one has its pooled state.
        pooled[name] = (answer.text_embeds if hasattr(answer, "text_embeds") else answer.pooler_output)[:1]
    return torch.cat(states, dim=-1), pooled


@dataclass(frozen=True)
class SentencePart:
    """For an encoder that reads whole sentences and knows no weights: `room` tokens at once, more where the sentence is longer.

    `frame` of them are taken by what stands around the sentence: its end, or the form of a conversation.
    """

    tokenizer: Any
    room: int
    frame: int = 1

    def runs(self, passages: tuple[Passage, ...]) -> list[Run]:
        tokens = self.tokenizer(sentence(passages), add_special_tokens=False, truncation=False, verbose=False).input_ids
        placed = [Placed(token, 1.0) for token in tokens]
        room = self.room - self.frame
        return [placed[start : start + room] for start in range(0, max(len(placed), 1), room)]

    def ids(self, text: str, runs: int, device: torch.device) -> Any:
        """Ids and mask, (1, room · runs) each, filled up behind."""
        return self.tokenizer(
            text, padding="max_length", max_length=self.room * runs, truncation=True, add_special_tokens=True, return_tensors="pt"
        ).to(device)


def sentence(passages: tuple[Passage, ...]) -> str:
    """The words as they read, without weights and breaks, for encoders that take sentences."""
    return " ".join(text for passage in passages if (text := "".join(piece.text for piece in passage).strip()))


def _places(runs: list[Run], learned: Learned) -> list[Spoken]:
    """Where vectors stand, one token behind their place in the run: the start token comes first."""
    return [
        Spoken(chunk, position + 1, learned[placed.vector[0]][placed.vector[1]])
        for chunk, run in enumerate(runs)
        for position, placed in enumerate(run)
        if placed.vector is not None
    ]


def _weights(runs: list[Run]) -> list[list[float]]:
    return [[placed.weight for placed in run] for run in runs]


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
