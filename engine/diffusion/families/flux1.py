"""FLUX.1 dev and schnell (Black Forest Labs 2024): a flow on 2 × 2 patches, T5 for the words and CLIP for the whole.

dev was distilled with guidance: the number is an input of the model. schnell takes none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from engine.contract.chunks import Run
from engine.contract.families import FAMILIES
from engine.contract.parts import PARTS
from engine.contract.words import Passage
from engine.diffusion.conditioning import Told
from engine.diffusion.families.common import PlainLatents, from_patches, places, to_patches
from engine.diffusion.families.family import Family, LoraReader, Parts
from engine.diffusion.voices import ClipPart, Learned, SentencePart, sentence

_T5_ROOM = 512


@dataclass(frozen=True)
class _Voice:
    """T5's states; beside them what CLIP makes of the beginning as a whole."""

    clip: ClipPart
    t5: Any
    part: SentencePart

    def runs(self, passages: tuple[Passage, ...], sizes: Mapping[str, int]) -> list[Run]:
        return self.part.runs(passages)

    def say(self, passages: tuple[Passage, ...], runs: int, learned: Learned) -> Told:
        first = self.clip.filled(passages, 1, {})[:1]
        pooled = self.clip.read(first, {}).pooler_output
        return Told(self.t5(self.part.ids(sentence(passages), runs, self.t5.device).input_ids)[0], aside={"pooled": pooled})


def _voice(parts: Parts, settings: Mapping[str, Any]) -> _Voice:
    return _Voice(ClipPart(parts["text_encoder"], parts["tokenizer"]), parts["text_encoder_2"], SentencePart(parts["tokenizer_2"], _T5_ROOM))


def _predict(transformer: Any, sample: torch.Tensor, timestep: torch.Tensor, told: Told, added: Mapping[str, Any]) -> torch.Tensor:
    height, width = sample.shape[2:]
    # Kontext reads its source as more tokens of the same picture, one place behind on the first axis.
    grids = [(sample, 0), *((one.to(sample.dtype), number) for number, one in enumerate(told.beside, start=1))]
    squares = torch.cat([to_patches(one) for one, _ in grids], dim=1)
    ids = [places(one.shape[2] // 2, one.shape[3] // 2, axes=3, device=sample.device, first=number) for one, number in grids]
    tokens = transformer(
        hidden_states=squares, timestep=(timestep / 1000).expand(len(sample)).to(sample.dtype), guidance=told.aside.get("guidance"),
        pooled_projections=told.aside["pooled"], encoder_hidden_states=told.words,
        txt_ids=torch.zeros(told.words.shape[1], 3, device=sample.device), img_ids=torch.cat(ids),
        **added, return_dict=False,
    )[0]  # fmt: skip
    return from_patches(tokens[:, : height * width // 4], height, width)


FLUX1 = Family(
    facts=FAMILIES["flux1"],
    components=PARTS["flux1"].classes,
    network="transformer",
    voice=_voice,
    latents=PlainLatents(),
    predict=_predict,
    loras=LoraReader("FluxLoraLoaderMixin", ("text_encoder",)),
)
