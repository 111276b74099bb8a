"""IP-Adapter files of every projection and a vision tower to go with them, made here: small, random, and really different from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from engine.contract.models import ModelCard

Table = dict[str, torch.Tensor]

EMBEDDING, PATCHES = 24, 32


def write_encoder(folder: Path, *, embedding: int = EMBEDDING, patches: int = PATCHES, seed: int = 3) -> Path:
    """A vision tower that looks at 32 × 32 pixels and gives `embedding` numbers for the whole, `patches` for each patch."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = CLIPVisionConfig(
            hidden_size=patches, intermediate_size=64, projection_dim=embedding, num_hidden_layers=3, num_attention_heads=4, image_size=32,
            patch_size=8,
        )  # fmt: skip
        CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def make_adapter(model: ModelCard, kind: str = "linear", *, seed: int = 0, embedding: int = EMBEDDING, patches: int = PATCHES) -> dict[str, Table]:
    """diffusers' two tables, with the names of the files that people download. `kind` is linear, full or plus."""
    rng = torch.Generator().manual_seed(seed)

    def some(*shape: int, scale: float = 0.3) -> torch.Tensor:
        return torch.randn(shape, generator=rng) * scale

    width = model.text_width or 0
    match kind:
        case "linear":
            projection = {"proj.weight": some(4 * width, embedding), "proj.bias": some(4 * width), **_norm("norm", width, some)}
        case "full":
            projection = {
                "proj.0.weight": some(patches, patches), "proj.0.bias": some(patches), "proj.2.weight": some(width, patches),
                "proj.2.bias": some(width), **_norm("proj.3", width, some),
            }  # fmt: skip
        case _:
            projection = _resampler(width, patches, some)
    layers: Table = {}
    for number, inner in enumerate(model.attention_widths):
        for part in ("k", "v"):
            layers[f"{2 * number + 1}.to_{part}_ip.weight"] = some(inner, width, scale=0.1)
    return {"image_proj": projection, "ip_adapter": layers}


def write_adapter(path: Path, adapter: dict[str, Table], notes: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"{part}.{key}": value for part, table in adapter.items() for key, value in table.items()}, path, metadata=notes)
    return path


def _norm(name: str, width: int, some: Any) -> Table:
    return {f"{name}.weight": 1 + some(width), f"{name}.bias": some(width)}


def _resampler(width: int, patches: int, some: Any, hidden: int = 64, tokens: int = 6) -> Table:
    table: Table = {
        "latents": some(1, tokens, hidden), "proj_in.weight": some(hidden, patches), "proj_in.bias": some(hidden),
        "proj_out.weight": some(width, hidden), "proj_out.bias": some(width), **_norm("norm_out", width, some),
    }  # fmt: skip
    for layer in range(4):
        look, think = f"layers.{layer}.0", f"layers.{layer}.1"
        table |= {
            f"{look}.to_q.weight": some(64, hidden), f"{look}.to_kv.weight": some(128, hidden), f"{look}.to_out.weight": some(hidden, 64),
            f"{think}.1.weight": some(4 * hidden, hidden), f"{think}.3.weight": some(hidden, 4 * hidden),
            **_norm(f"{look}.norm1", hidden, some), **_norm(f"{look}.norm2", hidden, some), **_norm(f"{think}.0", hidden, some),
        }  # fmt: skip
    return table
