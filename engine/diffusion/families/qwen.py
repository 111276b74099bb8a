"""Qwen-Image (Alibaba 2025, arXiv:2508.02324): a flow on 2 × 2 patches of a film autoencoder's latents, told by a vision-language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from engine.contract.chunks import Run
from engine.contract.editing import MEGAPIXEL, about_area
from engine.contract.errors import InvalidRequest
from engine.contract.families import FAMILIES
from engine.contract.parts import PARTS
from engine.contract.words import Passage
from engine.diffusion.conditioning import Told
from engine.diffusion.families.common import drawn, from_patches, to_patches
from engine.diffusion.families.family import Family, LoraReader, Parts
from engine.diffusion.images import Rgb, resized
from engine.diffusion.voices import Learned, SentencePart, Voice, sentence

_ROOM = 1024
# The instruction that the model was trained behind. Its first 34 tokens say nothing about the picture and are taken off again.
_LINE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships "
    "of the objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
_LINE_TOKENS = 34
# The same for a model that edits: it sees the pictures in front of the sentence.
_EDIT_LINE = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects, background), then explain how the "
    "user's text instruction should alter or modify the image. Generate a new image that meets the user's requirements while maintaining "
    "consistency with the original input where appropriate.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
_EDIT_LINE_TOKENS = 64
_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
_MARKS = ("<|image_pad|>", "<|video_pad|>")
# The later release numbers its pictures, and reads them beside the sentence at this many pixels.
_NUMBERED, _GLANCE = "QwenImageEditPlusPipeline", 384 * 384


@dataclass(frozen=True)
class _Voice:
    """`processor` puts pictures before the encoder, where the model is one that edits; `is_numbered`: it speaks of "Picture 1"."""

    encoder: Any
    part: SentencePart
    processor: Any = None
    is_numbered: bool = False

    def runs(self, passages: tuple[Passage, ...], sizes: Mapping[str, int]) -> list[Run]:
        return self.part.runs(passages)

    def say(self, passages: tuple[Passage, ...], runs: int, learned: Learned) -> Told:
        given = self.part.tokenizer(
            [_LINE.format(sentence(passages))], max_length=_ROOM * runs + _LINE_TOKENS, truncation=True, return_tensors="pt"
        ).to(self.encoder.device)  # fmt: skip
        answer = self.encoder(input_ids=given.input_ids, attention_mask=given.attention_mask, output_hidden_states=True)
        words = answer.hidden_states[-1][:, _LINE_TOKENS:]
        return Told(words, aside={"mask": words.new_ones(1, words.shape[1])})

    def before(self, pictures: tuple[Rgb, ...]) -> Voice:
        seen = (resized(one, about_area((one.shape[1], one.shape[0]), _GLANCE if self.is_numbered else MEGAPIXEL)) for one in pictures)
        return _SeeingVoice(self, tuple(seen))


@dataclass(frozen=True)
class _SeeingVoice:
    """Words as they read in front of these pictures."""

    own: _Voice
    pictures: tuple[Rgb, ...]

    def runs(self, passages: tuple[Passage, ...], sizes: Mapping[str, int]) -> list[Run]:
        return self.own.runs(passages, sizes)

    def say(self, passages: tuple[Passage, ...], runs: int, learned: Learned) -> Told:
        text, own = sentence(passages), self.own
        if any(mark in text for mark in _MARKS):
            raise InvalidRequest("The prompt holds a mark that stands for a picture.", f"Take {' and '.join(_MARKS)} out of it.", "prompt")
        shown = "".join(f"Picture {number}: {_PICTURE}" if own.is_numbered else _PICTURE for number in range(1, len(self.pictures) + 1))
        given = own.processor(text=[_EDIT_LINE.format(shown + text)], images=list(self.pictures), padding=True, return_tensors="pt").to(
            own.encoder.device
        )
        answer = own.encoder(
            input_ids=given.input_ids, attention_mask=given.attention_mask, pixel_values=given.pixel_values, image_grid_thw=given.image_grid_thw,
            output_hidden_states=True,
        )  # fmt: skip
        words = answer.hidden_states[-1][:, _EDIT_LINE_TOKENS:]
        return Told(words, aside={"mask": words.new_ones(1, words.shape[1])})


@dataclass(frozen=True)
class FilmLatents:
    """The first frame of a film of one frame, each channel brought to mean 0 and spread 1 by numbers in the autoencoder's settings."""

    def channels(self, vae: Any) -> int:
        return int(vae.config["z_dim"])

    def scale(self, vae: Any) -> int:
        return 2 ** len(vae.config["temperal_downsample"])

    def draws(self, vae: Any) -> bool:
        return True

    def encode(self, vae: Any, pixels: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        found = drawn(vae.encode(pixels[:, :, None]).latent_dist, generator)[:, :, 0].float()
        mean, spread = _statistics(vae, found.device)
        return (found - mean) / spread

    def decode(self, vae: Any, latents: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        mean, spread = _statistics(vae, latents.device)
        return vae.decode((latents * spread + mean)[:, :, None].to(dtype), return_dict=False)[0][:, :, 0]


def _statistics(vae: Any, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    mean, spread = (torch.tensor(vae.config[name], device=device).view(1, -1, 1, 1) for name in ("latents_mean", "latents_std"))
    return mean, spread


def _voice(parts: Parts, settings: Mapping[str, Any]) -> _Voice:
    is_numbered = settings["_class_name"] == _NUMBERED
    return _Voice(parts["text_encoder"], SentencePart(parts["tokenizer"], _ROOM), parts.get("processor"), is_numbered)


def _predict(transformer: Any, sample: torch.Tensor, timestep: torch.Tensor, told: Told, added: Mapping[str, Any]) -> torch.Tensor:
    height, width = sample.shape[2:]
    mask = told.aside["mask"]
    pictures = [sample, *(one.to(sample.dtype) for one in told.beside)]
    grids = [(1, one.shape[2] // 2, one.shape[3] // 2) for one in pictures]
    tokens = transformer(
        hidden_states=torch.cat([to_patches(one) for one in pictures], dim=1), timestep=(timestep / 1000).expand(len(sample)).to(sample.dtype), guidance=told.aside.get("guidance"),
        encoder_hidden_states=told.words, encoder_hidden_states_mask=None if bool(mask.all()) else mask.long(),
        img_shapes=[grids] * len(sample), **added, return_dict=False,
    )[0]  # fmt: skip
    return from_patches(tokens[:, : height * width // 4], height, width)


def _settle(guided: torch.Tensor, conditional: torch.Tensor) -> torch.Tensor:
    """Each token of the guided prediction as long as it was without guidance: their cure for burnt colours."""
    height, width = guided.shape[2:]
    strong, plain = to_patches(guided), to_patches(conditional)
    return from_patches(strong * (plain.norm(dim=-1, keepdim=True) / strong.norm(dim=-1, keepdim=True)), height, width)


QWEN = Family(
    facts=FAMILIES["qwen"],
    components=PARTS["qwen"].classes,
    optional=PARTS["qwen"].optional,
    network="transformer",
    voice=_voice,
    latents=FilmLatents(),
    predict=_predict,
    loras=LoraReader("QwenImageLoraLoaderMixin"),
    settle=_settle,
    settings={"_class_name": "QwenImagePipeline"},
)
