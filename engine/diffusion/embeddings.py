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

from engine.contract.embeddings import cannot_be_read, learned_shapes, named_embeddings
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


def load_embeddings(recipe: Recipe, paths: Mapping[str, Path], widths: Sequence[int]) -> dict[str, torch.Tensor]:
    """(n, sum of `widths`) float32 by name, for every embedding of the recipe: what each encoder reads, side by side.

    Raises what can be told, about the prompt that names it.
    """
    loaded: dict[str, torch.Tensor] = {}
    for name, digest in (recipe.embeddings or {}).items():
        prompts = recipe.prompts or (recipe.prompt,)
        field = "prompt" if any(named_embeddings(text, [name]) for text in prompts) else "negative_prompt"
        loaded[name] = load_embedding(name, paths.get(name), widths=widths, digest=digest, field=field)
    return loaded


def load_embedding(name: str, path: Path | None, *, widths: Sequence[int], digest: str, field: str) -> torch.Tensor:
    """Layouts: A1111's `emb_params`, or diffusers' one tensor under the token; for two encoders `clip_l` and `clip_g`. Each (dim) or (n, dim).

    Raises `DamagedFile` or `IncompatibleAdapter`.
    """
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
    shapes = learned_shapes({key: tuple(tensor.shape) for key, tensor in tensors.items()})
    if not shapes or not all(tensors[key].is_floating_point() for key in shapes):
        raise DamagedFile(f"The file of the embedding {name} holds no list of vectors.", "Choose another one.", field)
    if [width for _, width in shapes.values()] != list(widths):
        message = cannot_be_read(name, [width for _, width in shapes.values()], f"the model reads {' and '.join(map(str, widths))}")
        raise IncompatibleAdapter(message, "Take it out, or choose a model of the family that it was made for.", field)
    vectors = torch.cat([tensors[key].float().reshape(shape) for key, shape in shapes.items()], dim=1)
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
