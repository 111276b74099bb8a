"""Pictures to embeddings: a CLIP vision tower (Radford et al. 2021) from a folder in transformers' layout."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from engine.contract.errors import DamagedFile, EngineError
from engine.diffusion.device import unless_memory_ran_out
from engine.diffusion.images import Rgb
from engine.diffusion.reading import one_at_a_time
from engine.weights.headers import judge_header

_HINT = "Copy or download the whole folder again."
_PROCESSOR = "preprocessor_config.json"


@dataclass(frozen=True)
class ImageEncoder:
    """A vision tower in eval mode, and what brings a picture to its size and range."""

    folder: Path
    model: CLIPVisionModelWithProjection
    processor: CLIPImageProcessor

    def pixels(self, image: Rgb) -> torch.Tensor:
        """(H, W, 3) uint8 → (1, 3, edge, edge): scaled by its short side, its square middle cut out, normalised as the tower was trained."""
        processor: Any = self.processor
        return processor(images=image, input_data_format="channels_last", return_tensors="pt").pixel_values

    def embed(self, image: Rgb, *, patches: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """(embedding, embedding of no picture): (1, dim), the latter zeros; with `patches`, (1, tokens, dim) of the last layer but one.

        As diffusers' `encode_image`: no picture is a zero embedding, or the patches of zero pixels. Raises `DamagedFile`.
        """
        model: Any = self.model
        pixels = self.pixels(image).to(device=model.device, dtype=model.dtype)
        with torch.inference_mode():
            if patches:
                shown, nothing = (model(one, output_hidden_states=True).hidden_states[-2] for one in (pixels, torch.zeros_like(pixels)))
            else:
                shown = model(pixels).image_embeds
                nothing = torch.zeros_like(shown)
        if not (torch.isfinite(shown).all() and torch.isfinite(nothing).all()):
            raise DamagedFile(f"The image encoder {_title(self.folder)} gives values that are no numbers.", _HINT, "references")
        return shown, nothing


@one_at_a_time
def load_image_encoder(folder: Path, *, device: torch.device, dtype: torch.dtype) -> ImageEncoder:
    """Raises `DamagedFile`; a weight that the file lacks would otherwise be filled with chance."""
    try:
        for file in sorted(folder.rglob("*.safetensors")):
            judge_header(file)
        loader: Any = CLIPVisionModelWithProjection
        model, told = loader.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=dtype, output_loading_info=True)
        if told["missing_keys"]:
            raise ValueError(f"missing {sorted(told['missing_keys'])[0]}")
        processor = _load_processor(folder, int(model.config.image_size))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, EngineError) as error:
        unless_memory_ran_out(error)
        raise DamagedFile(f"The image encoder {_title(folder)} cannot be loaded.", _HINT, "references") from error
    return ImageEncoder(folder, model.eval().requires_grad_(False).to(device), processor)


def _load_processor(folder: Path, edge: int) -> CLIPImageProcessor:
    """The encoder's own settings, those of the model that it lies in, or CLIP's usual ones at its size, as diffusers does."""
    for path in (folder / _PROCESSOR, folder.parent / "feature_extractor" / _PROCESSOR):
        if path.is_file():
            made: Any = CLIPImageProcessor.from_dict(json.loads(path.read_text(encoding="utf-8")))
            return made
    return CLIPImageProcessor(size={"shortest_edge": edge}, crop_size={"height": edge, "width": edge})


def _title(folder: Path) -> str:
    return f"of {folder.parent.name}" if folder.name == "image_encoder" else folder.name
