"""Stable Diffusion 3 and 3.5 (Esser et al. 2024, arXiv:2403.03206): a flow, two CLIP encoders and T5, which may be left out."""

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
from engine.diffusion.families.common import PlainLatents
from engine.diffusion.families.family import Family, LoraReader, Parts
from engine.diffusion.voices import ClipPart, Learned, SentencePart, read_clips, sentence

_T5_ROOM = 256


@dataclass(frozen=True)
class _Voice:
    """CLIP's states side by side and filled up to the width of T5's, T5's behind them; both pooled states beside."""

    clips: tuple[ClipPart, ClipPart]
    t5: Any
    sentence: SentencePart
    joint_width: int

    def runs(self, passages: tuple[Passage, ...], sizes: Mapping[str, int]) -> list[Run]:
        return self.clips[0].runs(passages, sizes)

    def say(self, passages: tuple[Passage, ...], runs: int, learned: Learned) -> Told:
        states, pooled = read_clips(self.clips, passages, runs, learned)
        states = torch.nn.functional.pad(states, (0, self.joint_width - states.shape[-1]))
        return Told(
            torch.cat([states, self._sentence(passages, runs, states)], dim=1),
            aside={"pooled": torch.cat([pooled["first"], pooled["second"]], dim=-1)},
        )

    def _sentence(self, passages: tuple[Passage, ...], runs: int, like: torch.Tensor) -> torch.Tensor:
        # As many tokens for each run of CLIP's: it never reads less of a long prompt than CLIP does.
        if self.t5 is None:
            return like.new_zeros(1, self.sentence.room * runs, self.joint_width)
        return self.t5(self.sentence.ids(sentence(passages), runs, self.t5.device).input_ids)[0]


def _voice(parts: Parts, settings: Mapping[str, Any]) -> _Voice:
    clips = (ClipPart(parts["text_encoder"], parts["tokenizer"]), ClipPart(parts["text_encoder_2"], parts["tokenizer_2"]))
    tokenizer = parts.get("tokenizer_3")
    return _Voice(clips, parts.get("text_encoder_3"), SentencePart(tokenizer, _T5_ROOM), int(parts["transformer"].config.joint_attention_dim))


def _predict(transformer: Any, sample: torch.Tensor, timestep: torch.Tensor, told: Told, added: Mapping[str, Any]) -> torch.Tensor:
    return transformer(
        hidden_states=sample, timestep=timestep.expand(len(sample)), encoder_hidden_states=told.words, pooled_projections=told.aside["pooled"],
        **added, return_dict=False,
    )[0]  # fmt: skip


SD3 = Family(
    facts=FAMILIES["sd3"],
    components=PARTS["sd3"].classes,
    optional=PARTS["sd3"].optional,
    network="transformer",
    voice=_voice,
    latents=PlainLatents(),
    predict=_predict,
    loras=LoraReader("SD3LoraLoaderMixin", ("text_encoder", "text_encoder_2")),
)
