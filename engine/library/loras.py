"""LoRA files on disk: found at every look, judged by their header, never loaded here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from engine.contract.adapters import LoraCard, LoraUse
from engine.contract.errors import IncompatibleAdapter, InvalidRequest, ModelNotFound
from engine.contract.hub import HubOffer
from engine.contract.models import ModelCard
from engine.library.adapter_uploads import keep_lora, plain_name
from engine.library.hub import Report
from engine.library.hub_loras import HubLoras, origin, shelf_name
from engine.library.thumbnails import find_picture, stamp, thumbnail

BUNDLED_LORAS = Path(__file__).resolve().parents[2] / "presets" / "loras"
_HEADER_MAX_BYTES = 8 * 1024 * 1024
FAMILY_OF_WIDTH = {256: "the starter", 768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "SDXL"}
_OTHERS = {
    "double_blocks": "FLUX", "single_transformer_blocks": "FLUX", "lora_unet_double": "FLUX", "joint_blocks": "Stable Diffusion 3",
    "transformer.transformer_blocks": "a transformer model", "diffusion_model.layers": "a transformer model", "lora_te2_": "SDXL",
}  # fmt: skip
# Layouts that hold no plain pair of matrices: what reads the others would silently leave them out.
_UNREADABLE = {"hada_w1_a": "LoHa", "lokr_w1": "LoKr", "lokr_w2": "LoKr", "oft_blocks": "OFT", "ia3_": "IA³"}


class Loras:
    """Files in the bundled folder and in `data/loras`, by the stem of their name."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)

    def cards(self) -> list[LoraCard]:
        found: dict[str, LoraCard] = {}
        for root in self._roots:
            for path in sorted(root.glob("*.safetensors")):
                if path.stem not in found:
                    beside = find_picture(path)
                    found[path.stem] = _with_origin(read_card(path), path).model_copy(update={"picture": stamp(beside) if beside else None})
        return list(found.values())

    def picture(self, name: str) -> bytes | None:
        """A small JPEG of what an adapter does; None where there is none. Raises `ModelNotFound`."""
        beside = find_picture(self.path(name))
        return thumbnail(beside) if beside else None

    def add(self, folder: Path, name: str, data: BinaryIO) -> LoraCard:
        """Keep a file that somebody brings, once it is judged. Raises what `keep_lora` raises."""
        plain = plain_name(name)
        self._check_free(plain)
        return read_card(keep_lora(folder, plain, data, read_card))

    def fetch(self, loras: HubLoras, offer: HubOffer, report: Report | None = None) -> LoraCard:
        """Bring a file from the hub. Raises what `HubLoras.fetch` raises, before a byte is fetched where its name is taken."""
        self._check_free(shelf_name(offer))
        path = loras.fetch(offer, read_card, report)
        return _with_origin(read_card(path), path)

    def _check_free(self, name: str) -> None:
        # A file system may not tell capitals apart, and people do not either.
        if any(card.name.casefold() == name.casefold() for card in self.cards()):
            raise InvalidRequest(f"There is a LoRA named {name} here already.", "Rename the file, or take the other one away.", "loras")

    def path(self, name: str) -> Path:
        """The file of an adapter. Raises `ModelNotFound`; a name is only ever compared, never joined to a path."""
        for root in self._roots:
            for path in root.glob("*.safetensors"):
                if path.stem == name:
                    return path
        raise ModelNotFound(f"There is no LoRA named {name} here.", "Choose one from the rack, or put its file into data/loras.", "loras")

    def resolve(self, uses: Iterable[LoraUse], model: ModelCard) -> tuple[LoraUse, ...]:
        """The uses with the hashes of their files. Raises `ModelNotFound`, or `IncompatibleAdapter` for one that does not fit."""
        resolved: list[LoraUse] = []
        for use in uses:
            card = read_card(self.path(use.name))
            if card.refusal is not None:
                raise IncompatibleAdapter(f"The LoRA {card.title} cannot be used: {card.refusal}", "Choose another one.", "loras")
            if (reason := card.misfit(model)) is not None:
                message = f"The LoRA {card.title} {reason.removeprefix('it ')}"
                raise IncompatibleAdapter(message, "Mute it, or choose a model of its family.", "loras")
            resolved.append(use.model_copy(update={"hash": card.content_hash}))
        return tuple(resolved)


def read_card(path: Path) -> LoraCard:
    """Facts from the header; a damaged file has a card that says so."""
    stat = path.stat()
    return _card(str(path), stat.st_size, stat.st_mtime_ns)


def _with_origin(card: LoraCard, path: Path) -> LoraCard:
    """What its own header leaves open is filled in from what was noted when it was fetched."""
    noted = origin(path, card.content_hash)
    return card.model_copy(update={name: value for name, value in noted.items() if not getattr(card, name)}) if noted else card


@lru_cache(maxsize=256)
def _card(name: str, size: int, _mtime: int) -> LoraCard:
    path = Path(name)
    header = _header(path)
    known: dict[str, Any] = {"name": path.stem, "title": path.stem, "bytes_on_disk": size, "content_hash": _hash(path)}
    if header is None:
        return LoraCard(**known, refusal="its file is damaged or no safetensors file.")
    own = header.pop("__metadata__", {})
    facts: dict[str, Any] = {key: str(own[key])[:120] for key in ("title", "trigger", "licence") if isinstance(own, dict) and own.get(key)}
    width = _text_width(header)
    return LoraCard(
        **{**known, **facts},
        width=width,
        made_for=FAMILY_OF_WIDTH.get(width or 0, ""),
        has_text_encoder=any(key.startswith(("text_encoder", "lora_te")) for key in header),
        is_few_steps=isinstance(own, dict) and own.get("kind") == "few steps",
        refusal=_refusal(header),
    )


def _header(path: Path) -> dict[str, Any] | None:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _HEADER_MAX_BYTES:
            return None
        raw = file.read(length)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return header if isinstance(header, dict) else None


def _refusal(header: Mapping[str, Any]) -> str | None:
    for part, layout in _UNREADABLE.items():
        if any(part in key for key in header):
            return f"its layout {layout} is not supported."
    for part, family in _OTHERS.items():
        if any(part in key for key in header):
            return f"it was made for {family}."
    if not any("lora" in key for key in header):
        return "it holds no LoRA."
    return None


def _text_width(header: Mapping[str, Any]) -> int | None:
    """The width that the cross-attention's keys take: it tells the families apart."""
    for key, entry in header.items():
        is_down = key.endswith(("lora_A.weight", "lora_down.weight", "lora.down.weight", "lora_linear_layer.down.weight", "lora_A.default.weight"))
        if is_down and "attn2" in key and ("to_k" in key or "to_v" in key):
            shape = entry.get("shape") if isinstance(entry, dict) else None
            if isinstance(shape, list) and len(shape) >= 2:
                return int(shape[1])
    return None


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
