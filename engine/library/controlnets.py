"""Control models on disk: files and folders found at every look, judged by their headers, never loaded here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.contract.controls import ControlCard
from engine.contract.errors import IncompatibleAdapter, ModelNotFound
from engine.contract.models import ModelCard
from engine.contract.preprocessors import NO_PREPROCESSOR, PREPROCESSORS, Kind
from engine.library.safe_path import name_problem
from engine.weights.fingerprints import FAMILY_OF_WIDTH
from engine.weights.headers import Header, read_header

BUNDLED_CONTROLS = Path(__file__).resolve().parents[2] / "presets" / "controlnets"
LOW_RANK = "control-lora"
_PICKLES = (".pth", ".pt", ".ckpt", ".bin")
# What a name says about the map that a control was taught with: the first that occurs in it counts.
_BY_NAME: tuple[tuple[str, Kind, str], ...] = (
    ("lineart_anime", "lines", "lineart_anime"), ("anime", "lines", "lineart_anime"), ("lineart", "lines", "lineart"), ("canny", "edges", "canny"),
    ("softedge", "edges", "hed"), ("hed", "edges", "hed"), ("scribble", "edges", "hed"), ("pidi", "edges", "pidinet"), ("edge", "edges", "canny"),
    ("mlsd", "lines", "mlsd"), ("depth", "depth", "depth_anything"), ("zoe", "depth", "zoe"), ("normal", "normals", "normalbae"), ("pose", "pose", "openpose"),
    ("shuffle", "shuffle", "shuffle"), ("seg", "segments", NO_PREPROCESSOR),
)  # fmt: skip
# Files that steer pictures too, but are no plain ControlNet of a UNet.
_OTHERS = {
    "lora_controlnet": "it is a Control-LoRA of another program.", "lllite": "it is a ControlNet-LLLite.",
    "control_add_embedding": "it is a union of several controls.", "task_embedding": "it is a union of several controls.",
    "controlnet_x_embedder": "it was made for FLUX.", "double_blocks": "it was made for FLUX.", "joint_blocks": "it was made for Stable Diffusion 3.",
    "transformer_blocks.0.attn.": "it was made for a transformer model.", "adapter.body": "it is a T2I-Adapter.", "body.0.resnets": "it is a T2I-Adapter.",
    "lora_": "it is a LoRA.",
}  # fmt: skip


class ControlNets:
    """Files and folders in the bundled folder and in `data/controlnets`, by the stem of their name."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)

    def cards(self) -> list[ControlCard]:
        return [read_card(path) for path in self._found().values()]

    def path(self, name: str) -> Path:
        """The file or folder of a control. Raises `ModelNotFound`; a name is only ever compared, never joined to a path."""
        path = self._found().get(name)
        if path is None:
            raise ModelNotFound(f"There is no control named {name} here.", "Choose one from the list, or put it into data/controlnets.", "controls")
        return path

    def pinned(self, name: str, content_hash: str | None) -> Path:
        """The same, if it still is what a recipe was made with. Raises `IncompatibleAdapter` if it is not."""
        path = self.path(name)
        if read_card(path).content_hash != content_hash:
            raise IncompatibleAdapter(f"The control {name} is another file than when this was asked for.", "Ask for it again.", "controls")
        return path

    def pick(self, name: str | None, preprocessor: str, model: ModelCard) -> ControlCard:
        """The named control, or the one for this preprocessor. Raises `ModelNotFound`, or `IncompatibleAdapter` for one that does not fit."""
        if name is None:
            return self._usual(preprocessor, model)
        card = read_card(self.path(name))
        if (reason := card.why_not(model)) is not None:
            raise IncompatibleAdapter(reason, "Turn its card off, or choose another control or model.", "controls")
        return card

    def _usual(self, preprocessor: str, model: ModelCard) -> ControlCard:
        facts = PREPROCESSORS.get(preprocessor)
        kinds: tuple[Kind, ...] = () if facts is None else (facts.kind, *_alike(facts.kind))
        fitting = [card for card in self.cards() if card.why_not(model) is None]
        for wanted in fitting:
            if facts is not None and wanted.preprocessor == preprocessor:
                return wanted
        for kind in kinds:
            for wanted in fitting:
                if wanted.kind == kind:
                    return wanted
        what = "a finished map" if facts is None else f"what {facts.title} makes"
        raise IncompatibleAdapter(
            f"No control is chosen, and none here is known to read {what} for {model.title}.",
            "Choose one from the list, or put one into data/controlnets.",
            "controls",
        )

    def _found(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for root in self._roots:
            # Of two files that share a name, the one that can be used.
            for path in sorted(root.iterdir(), key=lambda one: (one.suffix in _PICKLES, one.name)) if root.is_dir() else ():
                if path.is_dir() and (path / "config.json").is_file():
                    found.setdefault(path.name, path)
                elif path.is_file() and path.suffix in (".safetensors", *_PICKLES):
                    found.setdefault(path.stem, path)
        return found


def read_card(path: Path) -> ControlCard:
    """Facts from the headers; a damaged file has a card that says so."""
    files = _files(path)
    stamps = tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    return _card(str(path), stamps)


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted([*path.glob("*.safetensors"), path / "config.json"])


def _alike(kind: Kind) -> tuple[Kind, ...]:
    # A control that was taught with edges reads drawn lines too, and the other way round.
    return {"edges": ("lines",), "lines": ("edges",)}.get(kind, ())  # type: ignore[return-value]


@lru_cache(maxsize=256)
def _card(name: str, stamps: tuple[tuple[str, int, int], ...]) -> ControlCard:
    path, files = Path(name), [Path(stamp[0]) for stamp in stamps]
    stem = path.name if path.is_dir() else path.stem
    known: dict[str, Any] = {
        "name": stem, "title": stem, "bytes_on_disk": sum(stamp[1] for stamp in stamps), "content_hash": _hash(path, files),
    }  # fmt: skip
    kind, preprocessor = next(((kind, usual) for part, kind, usual in _BY_NAME if part in stem.lower()), ("other", NO_PREPROCESSOR))
    known |= {"kind": kind, "preprocessor": preprocessor}
    headers = [read_header(file) for file in files if file.suffix == ".safetensors"]
    if path.suffix in _PICKLES and path.is_file():
        return ControlCard(**known, problem="it is a pickle, which can carry a program. Get its .safetensors file.")
    if not headers or any(header is None for header in headers):
        return ControlCard(**known, problem="its file is cut short, damaged or no safetensors file.")
    words, shapes = _joined([header for header in headers if header is not None])
    known |= _said(words)
    if (unnamed := name_problem(stem)) is not None:
        return ControlCard(**known, problem=unnamed)
    problem = _problem(words, shapes) or (_folder_problem(path) if path.is_dir() else None)
    width = _text_width(shapes)
    return ControlCard(**known, width=width, family=FAMILY_OF_WIDTH.get(width or 0, ""), residuals=_residuals(shapes), problem=problem)


def _joined(headers: list[Header]) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    words: dict[str, str] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for header in headers:
        words |= header.words
        shapes |= header.shapes
    return words, shapes


def _said(words: Mapping[str, str]) -> dict[str, Any]:
    """What its maker wrote into it, under the names of a card."""
    said = {name: words.get(f"easel.{name}") or words.get(name) or words.get(f"modelspec.{name}") for name in ("title", "licence", "note")}
    said["licence"] = said["licence"] or words.get("license") or words.get("modelspec.license")
    if (usual := words.get("easel.preprocessor")) in (*PREPROCESSORS, NO_PREPROCESSOR):
        said["preprocessor"] = usual
        said["kind"] = PREPROCESSORS[usual].kind if usual in PREPROCESSORS else None
    return {name: value for name, value in said.items() if value}


def _problem(words: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    for part, what in _OTHERS.items():
        if any(part in key for key in shapes) and words.get("easel.kind") != LOW_RANK:
            return what
    if words.get("easel.kind") == LOW_RANK or is_plain(shapes) or is_original(shapes):
        return None
    return "it holds no ControlNet."


def _folder_problem(folder: Path) -> str | None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        name = config.get("_class_name")
    except (OSError, ValueError, AttributeError):
        return "its config.json cannot be read."
    return None if name == "ControlNetModel" else f"it is a {str(name)[:40]}, not a ControlNetModel."


def is_plain(shapes: Mapping[str, object]) -> bool:
    """Whether the tensors have diffusers' names."""
    return "controlnet_cond_embedding.conv_in.weight" in shapes and "controlnet_down_blocks.0.weight" in shapes


def is_original(shapes: Mapping[str, object]) -> bool:
    """Whether the tensors have the names of the original release."""
    return any(key.removeprefix("control_model.") == "zero_convs.0.0.weight" for key in shapes)


def _text_width(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """The width that the cross-attention's keys take: it tells the families apart."""
    for key, shape in shapes.items():
        if key.endswith(("attn2.to_k.weight", "attn2.to_k.down", "attn2.to_v.down")) and len(shape) == 2:
            return shape[1]
    return None


def _residuals(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    found: list[int] = []
    for number in range(len(shapes)):
        names = (f"controlnet_down_blocks.{number}.weight", f"control_model.zero_convs.{number}.0.weight", f"zero_convs.{number}.0.weight")
        shape = next((shapes[name] for name in names if name in shapes), ())
        if not shape:
            break
        found.append(shape[0])
    return tuple(found)


def _hash(path: Path, files: list[Path]) -> str:
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    total = hashlib.sha256()
    for one in files:
        total.update(one.name.encode())
        with one.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
