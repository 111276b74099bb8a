"""Zips: a folder of sources in, pictures with their recipes out, a dataset for training other models out."""

from __future__ import annotations

import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from engine.contract.errors import InvalidRequest
from engine.contract.models import ModelCard
from engine.contract.results import Picture
from engine.library.uploads import BYTES_MAX

SOURCES_MAX = 64
_TOTAL_MAX = 400 * 1024 * 1024
# What the zip module lets out on a damaged file, its decompressors' own errors included.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError, OSError, ValueError, IndexError)
_PICTURE_NAMES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff")


def read_sources(data: BinaryIO) -> list[tuple[str, bytes]]:
    """(name, content) of every picture in a zip, by name. Raises `InvalidRequest` about the source before a bomb unpacks."""
    try:
        with zipfile.ZipFile(data) as archive:
            entries = sorted((e for e in archive.infolist() if _is_picture(e)), key=lambda entry: entry.filename)
            if not entries:
                raise InvalidRequest("There are no pictures in this zip.", "Put PNG, JPEG or WebP files into it.", "source")
            if len(entries) > SOURCES_MAX:
                raise InvalidRequest(f"This zip holds {len(entries)} pictures.", f"Send at most {SOURCES_MAX} at a time.", "source")
            if max(e.file_size for e in entries) > BYTES_MAX or sum(e.file_size for e in entries) > _TOTAL_MAX:
                raise InvalidRequest("The pictures in this zip are too large.", f"At most {_TOTAL_MAX // 1024**2} MB unpacked.", "source")
            return [(Path(entry.filename).name, archive.read(entry)) for entry in entries]
    except _DAMAGED as error:
        raise InvalidRequest("This zip cannot be opened.", "Pack it again, without a password.", "source") from error


def _is_picture(entry: zipfile.ZipInfo) -> bool:
    name = entry.filename
    hidden = name.startswith("__MACOSX/") or Path(name).name.startswith(".")
    return not entry.is_dir() and not hidden and name.lower().endswith(_PICTURE_NAMES)


def write_pictures(target: BinaryIO, pictures: Iterable[tuple[str, Picture]]) -> None:
    """Every picture as it is on disk, its recipe inside and also as one line of `recipes.jsonl`. Names come from the labels."""
    lines: list[str] = []
    # PNG does not shrink; storing is quick.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for number, (label, picture) in enumerate(pictures, start=1):
            name = f"{number:03d}-{slug(label)}.png"
            archive.write(picture.path, name)
            lines.append(json.dumps({"file_name": name, "label": label, "recipe": picture.recipe.to_plain()}, ensure_ascii=False))
        archive.writestr("recipes.jsonl", "\n".join(lines) + "\n")


def write_dataset(target: BinaryIO, pictures: Iterable[tuple[str, Picture]], model: ModelCard) -> None:
    """An imagefolder: `train/<class>/0001.png`, `train/metadata.jsonl` with captions, and a card with the licence."""
    lines: list[str] = []
    counts: dict[str, int] = {}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for label, picture in pictures:
            folder = slug(label)
            counts[folder] = counts.get(folder, 0) + 1
            name = f"{folder}/{counts[folder]:04d}.png"
            archive.write(picture.path, f"train/{name}")
            lines.append(json.dumps({"file_name": name, "text": picture.recipe.prompt, "label": label, "seed": picture.seed}, ensure_ascii=False))
        archive.writestr("train/metadata.jsonl", "\n".join(lines) + "\n")
        archive.writestr("README.md", _dataset_card(counts, model))


def _dataset_card(counts: dict[str, int], model: ModelCard) -> str:
    licence = model.licence or "unknown"
    rows = "\n".join(f"| {name} | {count} |" for name, count in counts.items())
    return (
        f"---\nlicense: {licence.lower()}\ntask_categories: [image-classification, text-to-image]\n---\n\n# A dataset made with Easel\n\n"
        f"{sum(counts.values())} pictures drawn by the model “{model.title}” (weights: {licence}; content hash {model.content_hash[:16]}).\n"
        f'Every file carries its recipe. Load it with `load_dataset("imagefolder", data_dir=".")`.\n\n| class | pictures |\n|---|---|\n{rows}\n'
    )


def slug(label: str) -> str:
    """A name for a file or folder. Letters of every script stay: classes named in Cyrillic must not fall into one."""
    return re.sub(r"[\W_]+", "-", label.lower()).strip("-")[:60] or "picture"
