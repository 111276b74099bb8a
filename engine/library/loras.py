"""LoRA files on disk: found at every look, judged by their header, never loaded here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from engine.contract.adapters import LoraCard, LoraUse
from engine.contract.errors import IncompatibleAdapter, InvalidRequest, ModelNotFound
from engine.contract.families import FAMILIES
from engine.contract.hub import HubOffer
from engine.contract.models import ModelCard
from engine.library.adapter_uploads import keep_lora, plain_name
from engine.library.hub import Report
from engine.library.hub_loras import HubLoras, origin, shelf_name
from engine.library.identify import Identity, recognise, where_to
from engine.library.safe_path import name_problem
from engine.library.thumbnails import find_picture, stamp, thumbnail
from engine.weights.headers import read_header

BUNDLED_LORAS = Path(__file__).resolve().parents[2] / "presets" / "loras"
# Layouts that hold no plain pair of matrices: what reads the others would silently leave them out.
_UNREADABLE: dict[str, str] = {"loha": "LoHa", "lokr": "LoKr", "oft": "OFT", "ia3": "IA³"}
# Those that a LoRA can be put on here.
_STEERED = (*FAMILIES, "sd2", "sdxl-refiner", "")


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
    header = read_header(path)
    known: dict[str, Any] = {"name": path.stem, "title": path.stem, "bytes_on_disk": size, "content_hash": _hash(path)}
    if (unnamed := name_problem(path.stem)) is not None:
        return LoraCard(**known, refusal=unnamed)
    if header is None:
        return LoraCard(**known, refusal="its file is damaged or no safetensors file.")
    facts: dict[str, Any] = {key: header.words[key][:120] for key in ("title", "trigger", "licence") if header.words.get(key)}
    found = recognise(header.shapes, header.words)
    return LoraCard(
        **{**known, **facts},
        width=found.width,
        made_for=found.made_for,
        family=found.family,
        has_text_encoder=any(key.startswith(("text_encoder", "lora_te")) for key in header.shapes),
        is_few_steps=header.words.get("kind") == "few steps",
        refusal=_refusal(found),
    )


def _refusal(found: Identity) -> str | None:
    if found.kind in _UNREADABLE:
        return f"its layout {_UNREADABLE[found.kind]} is not supported."
    if found.kind != "lora":
        return f"it holds no LoRA. {found.text} {where_to(found)}"
    return None if found.family in _STEERED else f"it was made for {found.made_for}."


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
