"""IP-Adapter files and image encoders on disk: found at every look, judged by their headers and settings, never loaded here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from engine.contract.errors import IncompatibleAdapter, ModelNotFound
from engine.contract.models import ModelCard
from engine.contract.references import Projection, ReferenceAdapterCard, ReferenceUse
from engine.library.catalogue import content_hash
from engine.library.safe_path import name_problem
from engine.weights.fingerprints import FAMILY_OF_WIDTH
from engine.weights.headers import Header, read_header

BUNDLED_IP_ADAPTERS = Path(__file__).resolve().parents[2] / "presets" / "ip_adapters"
# The name of the image encoder in a model's own folder.
OWN_ENCODER = "model"
_PICKLES = (".bin", ".pt", ".ckpt", ".pth")
_LAYER = re.compile(r"ip_adapter\.(\d+)\.to_(k|v)_ip\.weight")
_LINEAR_KEYS = {"proj.weight", "proj.bias", "norm.weight", "norm.bias"}
_FACES = "it needs a face recogniser (FaceID), which Easel does not have."


class _Encoder(NamedTuple):
    """An image encoder's folder. `widths` are of what it makes: one embedding of the picture, and the values of each patch."""

    name: str
    folder: Path
    widths: tuple[int, int]


class IpAdapters:
    """Files in the bundled folder and in `data/ip_adapters`, by stem; image encoders are folders in `data/image_encoders`."""

    def __init__(self, roots: Iterable[Path], encoder_roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)
        self._encoder_roots = tuple(encoder_roots)

    def cards(self) -> list[ReferenceAdapterCard]:
        """What cannot be used has a card that says so."""
        found: dict[str, ReferenceAdapterCard] = {}
        for path in self._files():
            if path.stem not in found or found[path.stem].refusal:
                found[path.stem] = read_card(path)
        return list(found.values())

    def cards_for(self, model: ModelCard, folder: Path) -> list[ReferenceAdapterCard]:
        """The same, each judged beside a model: its family, its layers, and whether the image encoder that it needs is here."""
        return [card.model_copy(update={"refusal": self._misfit(card, model, folder)}) for card in self.cards()]

    def _misfit(self, card: ReferenceAdapterCard, model: ModelCard, folder: Path) -> str | None:
        if (reason := card.misfit(model)) is not None:
            return reason
        try:
            self._encoder_for(card, None, folder)
        except ModelNotFound as error:
            return error.message.replace(f"The reference adapter {card.title}", "it")
        return None

    def path(self, name: str) -> Path:
        """The file of an adapter. Raises `ModelNotFound`; a name is only ever compared, never joined to a path."""
        files = [path for path in self._files() if path.stem == name]
        for path in files:
            if path.suffix == ".safetensors":
                return path
        if files:
            return files[0]
        raise ModelNotFound(
            f"There is no reference adapter named {name} here.", "Choose one from the list, or put its file into data/ip_adapters.", "references"
        )

    def encoder(self, name: str, model: Path) -> Path:
        """The folder of an image encoder for the model in this folder. Raises `ModelNotFound`."""
        for one in self._encoders(model):
            if one.name == name:
                return one.folder
        raise ModelNotFound(f"There is no image encoder named {name} here.", "Put its folder into data/image_encoders.", "references")

    def resolve(self, uses: Iterable[ReferenceUse], model: ModelCard, folder: Path) -> tuple[ReferenceUse, ...]:
        """The uses with all names and hashes. Raises `ModelNotFound`, or `IncompatibleAdapter` for an adapter that does not fit."""
        return tuple(self._resolved(use, model, folder) for use in uses)

    def _resolved(self, use: ReferenceUse, model: ModelCard, folder: Path) -> ReferenceUse:
        card = self._chosen(model) if use.adapter is None else read_card(self.path(use.adapter))
        if card.refusal is not None:
            raise IncompatibleAdapter(f"The reference adapter {card.title} cannot be used: {card.refusal}", "Choose another one.", "references")
        if (reason := card.misfit(model)) is not None:
            message = f"The reference adapter {card.title} {reason.removeprefix('it ')}"
            raise IncompatibleAdapter(message, "Choose another one, or a model that it was made for.", "references")
        encoder = self._encoder_for(card, use.image_encoder, folder)
        own = encoder.name == OWN_ENCODER
        named = {"adapter": card.name, "hash": card.content_hash, "image_encoder": encoder.name}
        # The model's hash already speaks for what is in its folder.
        return use.model_copy(update={**named, "image_encoder_hash": None if own else content_hash(encoder.folder)})

    def _chosen(self, model: ModelCard) -> ReferenceAdapterCard:
        """The model's own adapter, which bears its name, or else the first that fits."""
        fitting = [card for card in self.cards() if card.misfit(model) is None]
        if not fitting:
            message = f"{model.title} brings no reference adapter."
            raise ModelNotFound(message, "Drop one that was made for it into data/ip_adapters, or take the reference pictures out.", "references")
        return next((card for card in fitting if card.name == model.name), fitting[0])

    def _encoder_for(self, card: ReferenceAdapterCard, asked: str | None, folder: Path) -> _Encoder:
        wanted = asked or card.image_encoder
        here = self._encoders(folder)
        fitting = [one for one in here if one.widths[0 if card.projection == "linear" else 1] == card.image_width]
        if asked is not None:
            fitting = [one for one in fitting if one.name == asked]
        if not fitting:
            known = ", ".join(one.name for one in here if asked in (None, one.name))
            message = f"The reference adapter {card.title} needs an image encoder that gives {card.image_width} numbers"
            message += f", which {known} does not." if known else "." if asked is None else f", and there is none named {asked} here."
            raise ModelNotFound(message, "Put the folder of the encoder that it was trained with into data/image_encoders.", "references")
        return next((one for one in fitting if one.name == wanted), fitting[0])

    def _encoders(self, model: Path) -> list[_Encoder]:
        """The model's own first, then by name."""
        folders = [(OWN_ENCODER, model / "image_encoder")]
        for root in self._encoder_roots:
            folders += [(path.name, path) for path in sorted(root.iterdir())] if root.is_dir() else []
        found = [(name, folder, _encoder_widths(folder)) for name, folder in folders if name_problem(name) is None]
        return [_Encoder(name, folder, widths) for name, folder, widths in found if widths is not None]

    def _files(self) -> list[Path]:
        files = [path for root in self._roots if root.is_dir() for path in sorted(root.iterdir())]
        return [path for path in files if path.suffix in (".safetensors", *_PICKLES) and path.is_file()]


def read_card(path: Path) -> ReferenceAdapterCard:
    """Facts from the header; a file that cannot be used has a card that says so."""
    stat = path.stat()
    return _card(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _card(name: str, size: int, _mtime: int) -> ReferenceAdapterCard:
    path = Path(name)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    known: dict[str, Any] = {"name": path.stem, "title": path.stem, "bytes_on_disk": size, "content_hash": digest}
    if (unnamed := name_problem(path.stem)) is not None:
        return ReferenceAdapterCard(**known, refusal=unnamed)
    if path.suffix in _PICKLES:
        return ReferenceAdapterCard(**known, refusal="its file is a pickle, which can run programs; convert it to safetensors.")
    header = read_header(path)
    if header is None:
        return ReferenceAdapterCard(**known, refusal="its file is damaged or no safetensors file.")
    facts: dict[str, Any] = {key: header.words[key][:120] for key in ("title", "licence", "image_encoder") if header.words.get(key)}
    return ReferenceAdapterCard(**{**known, **facts, **_read_layout(header)})


def _read_layout(header: Header) -> dict[str, Any]:
    """What the shapes say, or why the file cannot be used."""
    projection = {name.removeprefix("image_proj."): shape for name, shape in header.shapes.items() if name.startswith("image_proj.")}
    layers = _layers(header.shapes)
    if not projection or not layers:
        return {"refusal": "it holds no IP-Adapter, or not all of its layers."}
    if "perceiver_resampler.proj_in.weight" in projection or any("_lora." in name for name in header.shapes):
        return {"refusal": _FACES}
    width = layers[0][1]
    read = _read_projection(projection)
    if isinstance(read, str):
        return {"refusal": read}
    kind, tokens, out_width, image_width = read
    if out_width != width or any(layer[1] != width for layer in layers):
        return {"refusal": "its two halves do not belong together."}
    widths = tuple(layer[0] for layer in layers)
    family = FAMILY_OF_WIDTH.get(width, "")
    return {"projection": kind, "tokens": tokens, "width": width, "image_width": image_width, "layers": widths, "made_for": family}


def _layers(shapes: dict[str, tuple[int, ...]]) -> list[tuple[int, ...]]:
    """(layer width, text width) in order; empty where one is missing. Numbers go 1, 3, 5 …: the even ones are self-attention."""
    pairs: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        if found := _LAYER.fullmatch(name):
            pairs.setdefault(int(found[1]), {})[found[2]] = shape
    numbers = sorted(pairs)
    is_whole = numbers == list(range(1, 2 * len(numbers), 2))
    is_whole = is_whole and all(pair.keys() == {"k", "v"} and pair["k"] == pair["v"] and len(pair["k"]) == 2 for pair in pairs.values())
    return [pairs[number]["k"] for number in numbers] if is_whole else []


def _read_projection(shapes: dict[str, tuple[int, ...]]) -> tuple[Projection, int, int, int] | str:
    """Kind, tokens, width of a token, width of what it reads; or why it cannot be used."""
    try:
        if "proj.weight" in shapes:
            if not shapes.keys() >= _LINEAR_KEYS:
                return "a part of its projection is missing."
            return "linear", 4, shapes["proj.weight"][0] // 4, shapes["proj.weight"][1]
        if "proj.3.weight" in shapes:
            # Every patch of a 16 × 16 grid and the token for the whole.
            return "full", 257, shapes["proj.3.weight"][0], shapes["proj.0.weight"][0]
        if "norm.weight" in shapes:
            return _FACES
        return "plus", shapes["latents"][1], shapes["proj_out.weight"][0], shapes["proj_in.weight"][1]
    except (KeyError, IndexError):
        return "its layout is not known, or a part of its projection is missing."


def _encoder_widths(folder: Path) -> tuple[int, int] | None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        widths = (config["projection_dim"], config["hidden_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return widths if all(isinstance(width, int) for width in widths) else None
