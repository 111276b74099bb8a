"""Textual inversion (Gal et al. 2023): learned vectors in the place of a word's own, without touching tokenizer or weights."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from engine.contract.embeddings import VECTORS_MAX, named_embeddings
from engine.contract.errors import DamagedFile, EngineError, IncompatibleAdapter
from engine.contract.recipe import Recipe
from engine.weights.headers import judge_header

_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True)
class Spoken:
    """`vector` (dim) stands at token `position` of chunk `chunk`."""

    chunk: int
    position: int
    vector: torch.Tensor


def load_embeddings(recipe: Recipe, paths: Mapping[str, Path], width: int) -> dict[str, torch.Tensor]:
    """(n, width) float32 by name, for every embedding of the recipe. Raises what can be told, about the prompt that names it."""
    loaded: dict[str, torch.Tensor] = {}
    for name, digest in (recipe.embeddings or {}).items():
        prompts = recipe.prompts or (recipe.prompt,)
        field = "prompt" if any(named_embeddings(text, [name]) for text in prompts) else "negative_prompt"
        loaded[name] = load_embedding(name, paths.get(name), width=width, digest=digest, field=field)
    return loaded


def load_embedding(name: str, path: Path | None, *, width: int, digest: str, field: str) -> torch.Tensor:
    """Layouts: A1111's `emb_params`, or diffusers' one tensor under the token; (dim) or (n, dim). Raises `DamagedFile` or `IncompatibleAdapter`."""
    if path is None or not path.is_file() or path.stat().st_size > _BYTES_MAX:
        raise DamagedFile(f"The file of the embedding {name} is gone or far too large.", "Put the original file back.", field)
    try:
        judge_header(path)
        data = path.read_bytes()
        tensors = load(data)
    except (EngineError, SafetensorError, OSError, ValueError) as error:
        raise DamagedFile(f"The file of the embedding {name} is damaged.", "Copy or download it again.", field) from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise DamagedFile(f"The file of the embedding {name} has changed since this was asked for.", "Press Generate again.", field)
    found = tensors.get("emb_params") if "emb_params" in tensors or len(tensors) != 1 else next(iter(tensors.values()))
    if found is None or found.ndim not in (1, 2) or not found.is_floating_point():
        raise DamagedFile(f"The file of the embedding {name} holds no list of vectors.", "Choose another one.", field)
    vectors = found.float().reshape(-1, found.shape[-1])
    if vectors.shape[1] != width or not 1 <= len(vectors) <= VECTORS_MAX:
        message = f"The embedding {name} has {len(vectors)} vectors of {vectors.shape[1]} numbers and the model reads {width}."
        raise IncompatibleAdapter(message, "Take it out, or choose a model of the family that it was made for.", field)
    if not torch.isfinite(vectors).all():
        raise DamagedFile(f"The embedding {name} holds values that are no numbers.", "Copy or download it again.", field)
    return vectors


@contextmanager
def spoken(text_encoder: Any, places: Sequence[Spoken]) -> Generator[None]:
    """While inside, the encoder's input embeddings (k, 77, dim) have these vectors in their places. No weight is touched."""
    if not places:
        yield
        return

    def put(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        changed = output.clone()
        for place in places:
            changed[place.chunk, place.position] = place.vector.to(changed)
        return changed

    handle = text_encoder.get_input_embeddings().register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()
