"""The models on disk: found by looking, described from small files, never by loading weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from engine.contract.errors import ModelNotFound
from engine.contract.families import FAMILIES, family_of, guidance_kind
from engine.contract.guidance import GuidanceKind
from engine.contract.models import ModelCard
from engine.library.noise_plan import noise_shares
from engine.library.safe_path import safe_path

BUNDLED = Path(__file__).resolve().parents[2] / "presets" / "models"


class Catalogue:
    """Models in the bundled folder and in `data/models`. A folder with `model_index.json` is a model."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)

    def cards(self) -> list[ModelCard]:
        """Every model that is here now, bundled ones first, by name. A folder that cannot be used takes none of the others away."""
        found: dict[str, ModelCard] = {}
        for root in self._roots:
            for index in sorted(root.glob("*/model_index.json")):
                with suppress(ModelNotFound):
                    found.setdefault(index.parent.name, read_card(index.parent))
        return list(found.values())

    def folder(self, name: str) -> Path:
        """The folder of the model called `name`. Raises `ModelNotFound`."""
        for root in self._roots:
            if root.is_dir() and (folder := safe_path(root, name)).joinpath("model_index.json").is_file():
                return folder
        raise ModelNotFound(f"There is no model named {name} here.", "Choose one from the list.", "model")

    def card(self, name: str) -> ModelCard:
        return read_card(self.folder(name))


def read_card(folder: Path) -> ModelCard:
    """Facts from `easel.json` where a model brings one, else what its family is usually run at."""
    facts: dict[str, Any] = {}
    if (own := folder / "easel.json").is_file():
        facts = json.loads(own.read_text(encoding="utf-8"))
    facts.setdefault("family", _family(folder))
    if (family := FAMILIES.get(facts["family"])) is None:
        raise ModelNotFound(f"The model folder {folder.name} is of a family that Easel does not know.", "Choose another model.", "model")
    facts.setdefault("title", facts.get("name", folder.name))
    usual = {"sizes": family.sizes, "default_size": family.sizes[0], "default_steps": family.steps, "default_scheduler": family.scheduler}
    facts = {**usual, "default_guidance": family.guidance_scale, "guidance": _guidance(folder, family.key), **facts}
    facts.update(name=folder.name, content_hash=content_hash(folder), bytes_on_disk=sum(p.stat().st_size for p in _weights(folder)))
    facts["noise_curve"] = noise_curve(folder)
    facts["text_width"] = text_width(folder)
    facts["residuals"] = residuals(folder)
    facts["attention_widths"] = attention_widths(folder)
    facts["has_scorer"] = (folder / "scorer.safetensors").is_file() or (folder / "clip" / "config.json").is_file()
    try:
        return ModelCard.model_validate(facts)
    except ValidationError as error:
        raise ModelNotFound(f"The model folder {folder.name} has a damaged easel.json.", "Put the original file back.", "model") from error


def _family(folder: Path) -> str:
    """The family's key by what `model_index.json` says; empty for one that is not known."""
    facts = family_of(_settings(folder / "model_index.json"))
    return facts.key if facts else ""


def _guidance(folder: Path, family: str) -> GuidanceKind:
    index = _settings(folder / "model_index.json")
    # Some are distilled to one run by a note in the folder, not by their design.
    return "none" if index.get("is_distilled") else guidance_kind(family, _settings(folder / "transformer" / "config.json"))


def _settings(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def noise_curve(folder: Path, places: int = 33) -> tuple[float, ...]:
    """Share of noise √(1 − ᾱ) from the start of the schedule to its end, read from the scheduler's settings; empty if unusual."""
    try:
        config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
        noise = noise_shares(config)
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    at = np.linspace(len(noise) - 1, 0, places).round().astype(int)
    return tuple(round(float(value), 4) for value in noise[at])


def text_width(folder: Path) -> int | None:
    """The width of the embeddings that the denoiser's cross-attention takes; None where its settings do not say."""
    try:
        width = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))["cross_attention_dim"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return width if isinstance(width, int) else None


def residuals(folder: Path) -> tuple[int, ...]:
    """Channels of what the denoiser's encoder passes on: its input, each layer, each halving. Empty where its settings do not say."""
    try:
        config = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
        channels, layers = [int(one) for one in config["block_out_channels"]], config["layers_per_block"]
        counts = [int(layers)] * len(channels) if isinstance(layers, int) else [int(one) for one in layers]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    passed = [channels[0]] if channels else []
    for level, (channel, count) in enumerate(zip(channels, counts, strict=False)):
        passed += [channel] * (count + (level < len(channels) - 1))
    return tuple(passed)


def content_hash(folder: Path) -> str:
    """SHA-256 over the names and bytes of every weight and configuration file. Cached by size and time of change."""
    stamps = tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in _hashed(folder))
    return _hash_files(str(folder), stamps)


@lru_cache(maxsize=64)
def _hash_files(folder: str, stamps: tuple[tuple[str, int, int], ...]) -> str:
    total = hashlib.sha256()
    for name, _size, _mtime in stamps:
        path = Path(name)
        total.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def _hashed(folder: Path) -> list[Path]:
    # easel.json and the card describe the model; they do not change what it draws.
    return sorted([*_weights(folder), *(p for p in folder.rglob("*.json") if p.name != "easel.json")])


def attention_widths(folder: Path) -> tuple[int, ...]:
    """Widths of the UNet's cross-attention layers in the order of its `attn_processors`; empty where its settings do not say."""
    try:
        config = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
        channels, down, up = config["block_out_channels"], config["down_block_types"], config["up_block_types"]
        layers, deep = (_per_block(config.get(name, 1), len(channels)) for name in ("layers_per_block", "transformer_layers_per_block"))
        widths: list[int] = []
        for block, kind in enumerate(down):
            widths += [channels[block]] * (layers[block] * deep[block]) if "CrossAttn" in kind else []
        for block, kind in enumerate(up):
            # The way up takes its blocks from the other end, each with one layer more.
            mirror = len(channels) - 1 - block
            widths += [channels[mirror]] * ((layers[mirror] + 1) * deep[mirror]) if "CrossAttn" in kind else []
        return (*widths, *([channels[-1]] * deep[-1] if "CrossAttn" in config.get("mid_block_type", "CrossAttn") else []))
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return ()


def _per_block(value: Any, blocks: int) -> list[int]:
    return [value] * blocks if isinstance(value, int) else list(value)
