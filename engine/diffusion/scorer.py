"""How well pictures fit words (Radford et al. 2021, CLIP): the starter's own scorer, or any folder in the layout of CLIPModel."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from engine.contract.errors import DamagedFile, EngineError, ModelNotFound
from engine.diffusion.device import unless_memory_ran_out
from engine.diffusion.reading import one_at_a_time
from engine.weights.headers import judge_header

# Beside a model's own parts: the projection of its text encoder and the scale of the score.
SCORER_FILE = "scorer.safetensors"
_HINT = "Copy or download the whole folder again."


@dataclass(frozen=True)
class Scorer:
    """Frozen, in eval mode. Gradients flow to the pictures, never into its weights.

    `logit_scale` is what training multiplied the score by before a softmax; `edge` is the size in pixels that it looks at.
    """

    embed_images: Callable[[torch.Tensor], torch.Tensor]
    embed_ids: Callable[[torch.Tensor], torch.Tensor]
    tokenizer: CLIPTokenizer
    mean: torch.Tensor
    std: torch.Tensor
    edge: int
    logit_scale: float
    # What the two functions run through: weights that can leave the device and come back.
    networks: torch.nn.ModuleDict

    def score(self, images: torch.Tensor, texts: Sequence[str]) -> torch.Tensor:
        """(B) float32, the cosine from -1 to 1 of each picture with its own text; images (B, 3, H, W) in [-1, 1]. One text serves all."""
        return (self.image_features(images) * self.text_features(texts)).sum(1)

    def image_features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [-1, 1], any size, seen whole and squeezed into a square → (B, D) float32 of length 1."""
        small = images.float()
        if small.shape[-2:] != (self.edge, self.edge):
            small = F.interpolate(small, (self.edge, self.edge), mode="bicubic", antialias=True)
        pixels = (small / 2 + 0.5 - self.mean) / self.std
        return F.normalize(self.embed_images(pixels).float(), dim=1)

    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """(N, D) float32 of length 1. What a text says beyond the tokenizer's length is cut off."""
        words: Any = self.tokenizer
        ids = words(list(texts), padding=True, truncation=True, max_length=words.model_max_length, return_tensors="pt").input_ids
        with torch.no_grad():
            return F.normalize(self.embed_ids(ids.to(self.mean.device)).float(), dim=1)


def has_scorer(folder: Path) -> bool:
    """Whether `load_scorer` has something to load in this folder."""
    return (folder / SCORER_FILE).is_file() or _model_type(folder) == "clip"


def scorer_bytes(folder: Path) -> int:
    """What its files take, which is about what it takes in memory."""
    folders = (folder / "image_encoder", folder / "text_encoder") if (folder / SCORER_FILE).is_file() else (folder,)
    return sum(file.stat().st_size for one in folders for file in one.glob("*.safetensors"))


def load_scorer(folder: Path, *, device: torch.device, dtype: torch.dtype = torch.float32) -> Scorer:
    """From a diffusion model's folder that brings `scorer.safetensors`, or from a CLIP model's. Raises `ModelNotFound` or `DamagedFile`."""
    if not has_scorer(folder):
        raise ModelNotFound(f"{folder.name} brings nothing that scores pictures.", "Choose a CLIP model, or the starter.", "model")
    try:
        for file in sorted(folder.rglob("*.safetensors")):
            judge_header(file)
        return (_load_own if (folder / SCORER_FILE).is_file() else _load_clip)(folder, device, dtype)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, EngineError) as error:
        unless_memory_ran_out(error)
        raise DamagedFile(f"The scorer of {folder.name} cannot be loaded.", _HINT, "model") from error


def load_networks(folder: Path, *, device: torch.device, dtype: torch.dtype = torch.float32) -> torch.nn.ModuleDict:
    """The networks of a scorer by themselves, afresh."""
    if not (folder / SCORER_FILE).is_file():
        return torch.nn.ModuleDict({"clip": _frozen(CLIPModel, folder, device, dtype)})
    vision = _frozen(CLIPVisionModelWithProjection, folder / "image_encoder", device, dtype)
    return torch.nn.ModuleDict({"vision": vision, "text": _frozen(CLIPTextModel, folder / "text_encoder", device, dtype)})


def _load_own(folder: Path, device: torch.device, dtype: torch.dtype) -> Scorer:
    networks: Any = load_networks(folder, device=device, dtype=dtype)
    vision, text = networks["vision"], networks["text"]
    own = load_file(folder / SCORER_FILE)
    projection = own["text_projection.weight"].to(device, dtype)
    return _scorer(
        folder,
        folder / "feature_extractor",
        folder / "tokenizer",
        networks=networks,
        embed_images=lambda pixels: vision(pixels.to(dtype)).image_embeds,
        embed_ids=lambda ids: text(ids).pooler_output @ projection.T,
        edge=int(vision.config.image_size),
        scale=own["logit_scale"],
        device=device,
    )


def _load_clip(folder: Path, device: torch.device, dtype: torch.dtype) -> Scorer:
    networks: Any = load_networks(folder, device=device, dtype=dtype)
    clip = networks["clip"]
    return _scorer(
        folder,
        folder,
        folder,
        networks=networks,
        embed_images=lambda pixels: clip.get_image_features(pixels.to(dtype)).pooler_output,
        embed_ids=lambda ids: clip.get_text_features(ids).pooler_output,
        edge=int(clip.config.vision_config.image_size),
        scale=clip.logit_scale,
        device=device,
    )


def _scorer(
    folder: Path,
    extractor: Path,
    words: Path,
    *,
    networks: torch.nn.ModuleDict,
    embed_images: Callable[[torch.Tensor], torch.Tensor],
    embed_ids: Callable[[torch.Tensor], torch.Tensor],
    edge: int,
    scale: torch.Tensor,
    device: torch.device,
) -> Scorer:
    settings: dict[str, Any] = json.loads((extractor / "preprocessor_config.json").read_text(encoding="utf-8"))
    mean, std = (torch.tensor(settings[name], dtype=torch.float32, device=device).view(1, 3, 1, 1) for name in ("image_mean", "image_std"))
    tokenizer = CLIPTokenizer.from_pretrained(words, local_files_only=True)
    return Scorer(embed_images, embed_ids, tokenizer, mean, std, edge, float(scale.float().exp()), networks)


@one_at_a_time
def _frozen(cls: Any, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    return cls.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=dtype).eval().requires_grad_(False).to(device)


def _model_type(folder: Path) -> str | None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config.get("model_type") if isinstance(config, dict) else None
