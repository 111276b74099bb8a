"""Z-Image and Z-Image-Turbo (Tongyi 2025, arXiv:2511.22699): one stream of words and patches, told by a language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from engine.contract.chunks import Run
from engine.contract.errors import InvalidRequest
from engine.contract.families import FAMILIES
from engine.contract.parts import PARTS
from engine.contract.words import Passage
from engine.diffusion.conditioning import Told
from engine.diffusion.families.common import PlainLatents
from engine.diffusion.families.family import Family, LoraReader, Parts
from engine.diffusion.families.flux2 import asked
from engine.diffusion.voices import Learned, SentencePart, sentence

# Tokens at once; the form of a conversation takes some of them.
_ROOM, _FRAME = 512, 24
_BLOCK = 32


@dataclass(frozen=True)
class _Voice:
    """The last hidden layer but one, only where words are: the denoiser takes sentences of any length."""

    encoder: Any
    part: SentencePart
    longest: int

    def runs(self, passages: tuple[Passage, ...], sizes: Mapping[str, int]) -> list[Run]:
        return self.part.runs(passages)

    def say(self, passages: tuple[Passage, ...], runs: int, learned: Learned) -> Told:
        given = self.part.ids(asked(self.part.tokenizer, sentence(passages), enable_thinking=True), runs, self.encoder.device)
        counts = given.attention_mask.bool()
        states = self.encoder(input_ids=given.input_ids, attention_mask=counts, output_hidden_states=True).hidden_states[-2]
        words = states[0][counts[0]][None]
        if words.shape[1] > self.longest:
            message = f"The prompt has {words.shape[1]} tokens, and Z-Image reads {self.longest} at most."
            raise InvalidRequest(message, "Shorten it.", "prompt")
        return Told(words, aside={"mask": words.new_ones(1, words.shape[1])})


def _voice(parts: Parts, settings: Mapping[str, Any]) -> _Voice:
    # Words are filled up to whole blocks, and the picture stands one place behind them on the same axis.
    longest = int(parts["transformer"].config.axes_lens[0]) // _BLOCK * _BLOCK - _BLOCK
    return _Voice(parts["text_encoder"], SentencePart(parts["tokenizer"], _ROOM, _FRAME), longest)


def _predict(transformer: Any, sample: torch.Tensor, timestep: torch.Tensor, told: Told, added: Mapping[str, Any]) -> torch.Tensor:
    # Its time runs the other way, and so does what it predicts. One picture is a film of one frame.
    sentences = [words[mask.bool()] for words, mask in zip(told.words, told.aside["mask"], strict=True)]
    answers = transformer(list(sample[:, :, None].unbind(0)), (1 - timestep / 1000).expand(len(sample)), sentences, **added, return_dict=False)[0]
    return -torch.stack([answer.float() for answer in answers])[:, :, 0]


ZIMAGE = Family(
    facts=FAMILIES["zimage"],
    components=PARTS["zimage"].classes,
    network="transformer",
    voice=_voice,
    latents=PlainLatents(),
    predict=_predict,
    loras=LoraReader("ZImageLoraLoaderMixin"),
)
