"""VAEs on disk that may stand in for a model's own: files and folders in `data/vaes`, judged by their headers, never loaded here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.contract.errors import EngineError, IncompatibleAdapter, ModelNotFound
from engine.contract.models import ModelCard
from engine.contract.vaes import OWN_VAE, VaeCard
from engine.library.identify import PICKLES, identify, where_to
from engine.library.safe_path import name_problem
from engine.weights.fingerprints import VAE_AT, part_at, under
from engine.weights.headers import judge_header
from engine.weights.single_files import latents_of, read_vae

_CLASSES = ("AutoencoderKL", "AutoencoderTiny")


class Vaes:
    """By the stem of a file, or the name of a folder with its config.json. Found at every look."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)

    def cards(self) -> list[VaeCard]:
        """By name. What cannot be used has a card that says so."""
        return [_card(str(path), _stamps(path)) for _, path in sorted(self._found().items())]

    def path(self, name: str) -> Path:
        """The file or folder of a VAE. Raises `ModelNotFound`; a name is only ever compared, never joined to a path."""
        if (path := self._found().get(name)) is None:
            raise ModelNotFound(f"There is no VAE named {name[:64]} here.", "Choose one from the list, or put its file into data/vaes.", "vae")
        return path

    def resolve(self, asked: str | None, model: ModelCard) -> tuple[str, str | None] | None:
        """Name and hash of the VAE that a picture is to be made with; None is the model's own.

        Raises `ModelNotFound`, or `IncompatibleAdapter` for one that does not fit, or where a model has none and none is asked for.
        """
        name = asked or model.vae or None
        if model.wants_vae and name in (None, OWN_VAE):
            hint = "Choose one under VAE; where the list is empty, put the file of one into data/vaes."
            raise IncompatibleAdapter(f"{model.title} has no VAE of its own.", hint, "vae")
        if name is None or (name == OWN_VAE and not model.vae):
            return None
        if name == OWN_VAE:
            return OWN_VAE, None
        path = self.path(name)
        card = _card(str(path), _stamps(path))
        if card.refusal is not None:
            raise IncompatibleAdapter(f"The VAE {card.title} cannot be used: {card.refusal}", "Choose another one.", "vae")
        if (reason := card.misfit(model)) is not None:
            raise IncompatibleAdapter(f"The VAE {card.title} {reason}", "Choose another one, or the model's own.", "vae")
        return card.name, card.content_hash

    def _found(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for root in self._roots:
            for path in sorted(root.iterdir()) if root.is_dir() else ():
                is_file = path.is_file() and path.suffix.lower() in (".safetensors", *PICKLES)
                name = path.stem if is_file else path.name
                # A link that leads out of the folder is not followed.
                if path.resolve().parent == root.resolve() and (is_file or (path / "config.json").is_file()):
                    found.setdefault(name, path)
        return found


@lru_cache(maxsize=64)
def _card(name: str, _stamps: tuple[tuple[str, int, int], ...]) -> VaeCard:
    path = Path(name)
    known: dict[str, Any] = {"name": path.name if path.is_dir() else path.stem, "bytes_on_disk": sum(size for _, size, _ in _stamps)}
    known["title"] = known["name"]
    if (unnamed := name_problem(known["name"])) is not None:
        return VaeCard(**known, refusal=unnamed)
    try:
        settings = _settings(path)
    except EngineError as error:
        return VaeCard(**known, refusal=str(error))
    channels, pixels, _ = latents_of({"scaling_factor": 1.0, **settings})
    return VaeCard(**known, channels=channels, pixels=pixels, scaling=settings.get("scaling_factor"), content_hash=_hash(path))


def _settings(path: Path) -> dict[str, Any]:
    """Those of a folder, or what the shapes of a file tell. Raises `EngineError`."""
    if path.is_dir():
        try:
            settings = json.loads((path / "config.json").read_text(encoding="utf-8"))
            is_known = settings["_class_name"] in _CLASSES and bool(latents_of({"scaling_factor": 1.0, **settings}))
        except (OSError, ValueError, KeyError, TypeError):
            is_known, settings = False, {}
        weights = sorted(path.glob("*.safetensors"))
        if not is_known or not weights:
            raise EngineError("it is no folder of an AutoencoderKL with .safetensors weights.", "Copy the whole vae folder of a model.")
        for file in weights:
            judge_header(file)
        return settings
    found = identify(path)
    shapes = judge_header(path).shapes
    if found.kind != "vae":
        raise EngineError(found.text, where_to(found))
    settings = read_vae(under(part_at(VAE_AT, shapes), shapes))
    if settings is None:
        raise EngineError(found.text, "Get it as a folder with its config.json.")
    return settings


def _stamps(path: Path) -> tuple[tuple[str, int, int], ...]:
    files = [path] if path.is_file() else [path / "config.json", *sorted(path.glob("*.safetensors"))]
    return tuple((str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in files)


def _hash(path: Path) -> str:
    """SHA-256 of a file, or over those of a folder."""
    files = [path] if path.is_file() else [path / "config.json", *sorted(path.glob("*.safetensors"))]
    total = hashlib.sha256()
    for one in files:
        with one.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        if len(files) == 1:
            return digest.hexdigest()
        total.update(digest.digest())
    return total.hexdigest()
