"""The models on disk: found by looking, described from small files, never by loading weights."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from engine.contract.editing import EDITORS, editor_name
from engine.contract.errors import EngineError, InvalidRequest, ModelNotFound
from engine.contract.families import FAMILIES, family_of, guidance_kind
from engine.contract.models import ModelCard
from engine.library.digests import LARGE_BYTES, Digests
from engine.library.identify import MODELS, PICKLES, identify, part_bytes, where_to
from engine.library.noise_plan import noise_shares
from engine.library.safe_path import name_problem, safe_path
from engine.weights.fingerprints import TITLES
from engine.weights.single_files import SINGLE_FILES, is_single_file, latents_of, own_file, read_single_file, settings_of
from engine.weights.stamps import Stamp, stamps
from engine.weights.variants import files_under

BUNDLED = Path(__file__).resolve().parents[2] / "presets" / "models"
# Families that are drawn by the row of another: they differ in what their settings say.
_ROWS = {"sd2": "sd1"}
# Sizes of Stable Diffusion 2 where it was trained at 768 pixels, and the latents along an edge that say so.
_LARGER, _LARGER_LATENTS = ((768, 768), (1024, 768), (768, 1024)), 96
_CARD_MAX = 64 * 1024
# What its maker wrote about a model, in its folder.
_WORDS = "README.md"
# Facts for the hub, before the words for people.
_HEAD = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_LICENCE = re.compile(r"^licen[cs]e: *[\"']?([A-Za-z0-9 .+_-]{2,60})", re.MULTILINE)


# For folders that no catalogue holds: image encoders, and whoever looks at one folder.
_DIGESTS = Digests()


class Catalogue:
    """Models in the bundled folder and in `data/models`: a folder with `model_index.json`, or a single file, which says what it is."""

    def __init__(self, roots: Iterable[Path], digests: Digests | None = None) -> None:
        self._roots = tuple(roots)
        self._digests = digests or Digests()

    def cards(self) -> list[ModelCard]:
        """Everything that is here now, bundled ones first, by name. What cannot be used has a card that says so."""
        return [read_card(path, self._digests) for path in self._found().values()]

    def folder(self, name: str) -> Path:
        """The folder, or the single file, of the model called `name`. Raises `ModelNotFound`."""
        for root in self._roots:
            if root.is_dir() and ((found := safe_path(root, name)).joinpath("model_index.json").is_file() or is_single_file(found)):
                return found
        raise ModelNotFound(f"There is no model named {name} here.", "Choose one from the list.", "model")

    def pinned(self, name: str) -> ModelCard:
        """The card with its content hash, also where that takes a while: what a recipe names. Raises `ModelNotFound`."""
        card = self.card(name)
        return card if card.content_hash else card.model_copy(update={"content_hash": content_hash(self.folder(name), self._digests)})

    def card(self, name: str) -> ModelCard:
        """Without the content hash of a large model that nobody has drawn with yet. Raises `ModelNotFound`, also for one that cannot be used."""
        card = read_card(self.path(name), self._digests)
        if card.refusal is not None:
            raise ModelNotFound(f"The model {card.title} cannot be used: {card.refusal}", "Choose another one from the list.", "model")
        return card

    def path(self, name: str) -> Path:
        """The folder or file of a model. Raises `ModelNotFound`; a name is only ever compared, never joined to a path."""
        if (path := self._found().get(name)) is None:
            raise ModelNotFound(f"There is no model named {name[:64]} here.", "Choose one from the list.", "model")
        return path

    def words(self, name: str) -> str:
        """What its maker wrote about it: the model card in its folder, cut to a few pages; "" where there is none. Raises `ModelNotFound`."""
        path = self.path(name)
        return _HEAD.sub("", _read_words(path)).lstrip() if path.is_dir() else ""

    def remove(self, name: str, bin_folder: Path) -> Path:
        """Put a model aside, where its operator can take it back from. Raises `ModelNotFound`, or `InvalidRequest` for a bundled one."""
        path = self.path(name)
        if path.parent == BUNDLED:
            raise InvalidRequest(f"{name} belongs to Easel and stays.", "Choose another one as default instead.", "model")
        bin_folder.mkdir(parents=True, exist_ok=True)
        return path.rename(bin_folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}-{path.name}")

    def _found(self) -> dict[str, Path]:
        """Folders by their name, single files by theirs with its ending."""
        found: dict[str, Path] = {}
        for root in self._roots:
            for path in sorted(root.iterdir()) if root.is_dir() else []:
                # A link that leads out of the folder is not followed.
                if path.resolve().parent != root.resolve():
                    continue
                is_file = path.is_file() and path.suffix.lower() in (*SINGLE_FILES, *PICKLES)
                if is_file or (path / "model_index.json").is_file():
                    found.setdefault(path.name, path)
        return found


def read_card(path: Path, digests: Digests | None = None) -> ModelCard:
    """Facts from the file that its owner wrote, else what its family is usually run at. Never raises: what is wrong stands in the card."""
    try:
        # What a single file borrows from may change too, and is not looked through.
        card = _described_folder(str(path), _stamps(path)) if path.is_dir() else _described(path, _stamps(path))
        return card if card.refusal is not None else card.model_copy(update={"content_hash": _known_hash(path, digests or _DIGESTS)})
    except EngineError as error:
        return _bare(path, str(error))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return _bare(path, _damaged(path, error))


@lru_cache(maxsize=256)
def _described_folder(name: str, stamp: tuple[Stamp, ...]) -> ModelCard:
    """Every press of Generate asks for it: read again only where something has changed."""
    return _described(Path(name), stamp)


def _described(path: Path, stamp: tuple[Stamp, ...]) -> ModelCard:
    """The card without the content hash."""
    known = _known(path) | {"bytes_on_disk": _size(path)}
    look = _look(str(path), stamp)
    if path.is_file() and look.refusal is None:
        look = _with_base(path, look)
    if look.refusal is not None:
        return ModelCard.model_validate(known | _identity(look) | {"refusal": look.refusal})
    try:
        facts = (
            known
            | _usual(path, look.family)
            | {"licence": _licence(path)}
            | _own_facts(path)
            | {"name": path.name}
            | _identity(look)
            | {"editor": editor_name(_settings(path))}
        )
        return ModelCard.model_validate({**facts, **_measured(path)})
    except (OSError, ValueError, TypeError) as error:
        return ModelCard.model_validate(known | {"refusal": _damaged(path, error)})


def _bare(path: Path, refusal: str) -> ModelCard:
    return ModelCard.model_validate(_known(path) | {"refusal": refusal})


def _known(path: Path) -> dict[str, Any]:
    """What needs no look inside."""
    return {
        "name": path.name, "title": path.stem if path.is_file() else path.name, "family": "", "content_hash": "", "bytes_on_disk": 0,
        "default_size": FAMILIES["sd1"].sizes[0], "sizes": FAMILIES["sd1"].sizes, "is_bundled": path.parent == BUNDLED,
    }  # fmt: skip


def _damaged(path: Path, error: Exception) -> str:
    """Which of its files it is about, as far as that is known."""
    if isinstance(error, OSError):
        return f"{Path(str(error.filename)).name if error.filename else path.name} cannot be read. Copy or download it again."
    if own_file(path).is_file():
        return f"its {own_file(path).name} is damaged. Put the original file back."
    return "its settings cannot be read. Copy or download it again."


@dataclass(frozen=True)
class _Looked:
    """What identification said of a file or folder, kept until it changes."""

    family: str = ""
    title: str = ""
    what: str = ""
    parts: dict[str, int] = field(default_factory=dict[str, int])
    refusal: str | None = None


def _identity(look: _Looked) -> dict[str, Any]:
    return {"family": look.family, "family_title": look.title, "what": look.what, "parts": look.parts}


@lru_cache(maxsize=256)
def _look(name: str, _stamp: tuple[Stamp, ...]) -> _Looked:
    path = Path(name)
    if (unnamed := name_problem(path.name)) is not None:
        return _Looked(refusal=f"Its name is odd: {unnamed}")
    try:
        found = identify(path)
        if found.kind not in MODELS:
            return _Looked(what=found.text, refusal=f"{found.text} {where_to(found)}")
        parts = part_bytes(path)
    except EngineError as error:
        return _Looked(refusal=str(error))
    family = _ROWS.get(found.family, found.family)
    known = _Looked(family, TITLES.get(found.family, ""), found.text, parts)
    facts = family_of(_settings(path)) if path.is_dir() else FAMILIES.get(family)
    if facts is None or facts.key != family:
        return replace(known, refusal=f"{found.text} Easel cannot draw with {found.made_for or 'this kind'} in this form yet.")
    return known


def _with_base(path: Path, known: _Looked) -> _Looked:
    """With what a file borrows. Never remembered: the folder that it borrows from may still be on its way."""
    try:
        file = read_single_file(path)
        parts = known.parts
        if file.base is not None:
            # Each part once: what is read from the file, and what is borrowed.
            own = {name: size for name, size in parts.items() if name == "denoiser" or name in file.inside}
            parts = {name: size for name, size in part_bytes(file.base).items() if name not in file.inside} | own
    except EngineError as error:
        why = error.message.partition(": ")[2] or error.message
        return replace(known, refusal=f"{known.what.removesuffix('.')}, but {why} {error.hint}")
    return replace(known, what=" ".join(filter(None, (known.what, file.says))), parts=parts)


def _usual(folder: Path, family: str) -> dict[str, Any]:
    """What models of the family are usually run at."""
    facts, index = FAMILIES[family], _settings(folder)
    editor = EDITORS.get(editor_name(index))
    # Some are distilled to one run by a note in the folder, not by their design.
    is_distilled = bool(index.get("is_distilled"))
    sizes = _LARGER if family == "sd1" and _settings(folder, "unet").get("sample_size") == _LARGER_LATENTS else facts.sizes
    return {
        "sizes": sizes, "default_size": sizes[0], "default_steps": facts.steps, "default_guidance": (editor and editor.guidance_scale) or facts.guidance_scale,
        "default_scheduler": facts.scheduler,
        "guidance": "none" if is_distilled else guidance_kind(family, _settings(folder, "transformer")),
    }  # fmt: skip


def _settings(model: Path, part: str = "model_index") -> dict[str, Any]:
    """Those of a part; empty where there are none that can be read."""
    try:
        return settings_of(model, part)
    except (OSError, ValueError):
        return {}


def _own_facts(model: Path) -> dict[str, Any]:
    own = own_file(model)
    facts: dict[str, Any] = json.loads(own.read_text(encoding="utf-8")) if own.is_file() else {}
    # Other programs leave notes of that name too, with words where there is nothing to name.
    if "vae" in facts:
        facts["vae"] = "" if facts["vae"] in ("None", "Automatic") else str(facts["vae"]).removesuffix(".safetensors")
    return {**({"title": facts["name"]} if "name" in facts else {}), **facts}


def _measured(folder: Path) -> dict[str, Any]:
    has_scorer = (folder / "scorer.safetensors").is_file() or (folder / "clip" / "config.json").is_file()
    return {
        "noise_curve": noise_curve(folder), "text_width": text_width(folder), "residuals": residuals(folder),
        "attention_widths": attention_widths(folder), "has_scorer": has_scorer, "clip_layers": _clip_layers(folder), "latents": _latents(folder),
        "wants_vae": is_single_file(folder) and read_single_file(folder).wants_vae,
    }  # fmt: skip


def _clip_layers(model: Path) -> int | None:
    """Of a model whose only encoders are CLIP's."""
    layers = _settings(model, "text_encoder").get("num_hidden_layers") if (index := _settings(model)) and "unet" in index else None
    return layers if isinstance(layers, int) else None


def _latents(model: Path) -> tuple[int, int, float] | None:
    try:
        return latents_of(_settings(model, "vae"))
    except (KeyError, TypeError, ValueError):
        return None


def _licence(folder: Path) -> str:
    """As the head of its model card says it."""
    found = _LICENCE.search(_read_words(folder)[:2000])
    return found[1].strip() if found else ""


def _read_words(folder: Path) -> str:
    try:
        with (folder / _WORDS).open("rb") as file:
            return file.read(_CARD_MAX).decode("utf-8", "replace")
    except OSError:
        return ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(one.stat().st_size for one in _weights(path))


def _stamps(path: Path) -> tuple[Stamp, ...]:
    # What a single file borrows from lies beside it.
    looked = (
        [path, own_file(path), *sorted(path.parent.glob("*/model_index.json"))] if path.is_file() else [own_file(path), path / _WORDS, *_hashed(path)]
    )
    return stamps(looked)


def noise_curve(folder: Path, places: int = 33) -> tuple[float, ...]:
    """Share of noise √(1 − ᾱ) from the start of the schedule to its end, read from the scheduler's settings; empty if unusual."""
    try:
        noise = noise_shares(settings_of(folder, "scheduler"))
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    at = np.linspace(len(noise) - 1, 0, places).round().astype(int)
    return tuple(round(float(value), 4) for value in noise[at])


def text_width(folder: Path) -> int | None:
    """The width of the embeddings that the denoiser's cross-attention takes; None where its settings do not say."""
    try:
        width = settings_of(folder, "unet")["cross_attention_dim"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return width if isinstance(width, int) else None


def residuals(folder: Path) -> tuple[int, ...]:
    """Channels of what the denoiser's encoder passes on: its input, each layer, each halving. Empty where its settings do not say."""
    try:
        config = settings_of(folder, "unet")
        channels, layers = [int(one) for one in config["block_out_channels"]], config["layers_per_block"]
        counts = [int(layers)] * len(channels) if isinstance(layers, int) else [int(one) for one in layers]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    passed = [channels[0]] if channels else []
    for level, (channel, count) in enumerate(zip(channels, counts, strict=False)):
        passed += [channel] * (count + (level < len(channels) - 1))
    return tuple(passed)


def content_hash(folder: Path, digests: Digests | None = None) -> str:
    """SHA-256 over the names and bytes of every weight and configuration file; of a single file that of its bytes, as every program has it."""
    digests = digests or _DIGESTS
    if is_single_file(folder):
        file = read_single_file(folder)
        own = digests.of(folder)
        # What it borrows, and what a note beside it changes in what it draws.
        more = [*([content_hash(file.base, digests)] if file.base else []), *([file.noted] if file.noted else [])]
        return hashlib.sha256(" ".join((own, *more)).encode()).hexdigest() if more else own
    total = hashlib.sha256()
    for path in _hashed(folder):
        total.update(path.relative_to(folder).as_posix().encode())
        total.update(bytes.fromhex(digests.of(path)))
    return total.hexdigest()


def _known_hash(folder: Path, digests: Digests) -> str:
    """The same where it costs nothing to know: for small models, and for large ones that were read before. Else empty."""
    large = (path for path in _all_hashed(folder) if path.stat().st_size >= LARGE_BYTES)
    return content_hash(folder, digests) if all(digests.known(path) for path in large) else ""


def _weights(folder: Path) -> list[Path]:
    return files_under(folder, (".safetensors",))


def _hashed(folder: Path) -> list[Path]:
    # easel.json and the card describe the model; they do not change what it draws.
    return [path for path in files_under(folder, (".safetensors", ".json")) if path.name != "easel.json"]


def _all_hashed(model: Path) -> list[Path]:
    if not is_single_file(model):
        return _hashed(model)
    base = read_single_file(model).base
    return [model, *(_hashed(base) if base else [])]


def attention_widths(folder: Path) -> tuple[int, ...]:
    """Widths of the UNet's cross-attention layers in the order of its `attn_processors`; empty where its settings do not say."""
    try:
        config = settings_of(folder, "unet")
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
