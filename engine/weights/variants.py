"""The files of a folder that count: also where a part is a link, and where the same weights lie there in more than one precision."""

from __future__ import annotations

import os
import re
from pathlib import Path

# How diffusers and transformers name weights. The precision stands before the number of the piece or behind it.
WEIGHTS = re.compile(
    r"(?P<stem>diffusion_pytorch_model|model)(?:\.(?P<early>fp16|bf16))?(?:-(?P<number>\d{5})-of-(?P<count>\d{5}))?(?:\.(?P<late>fp16|bf16))?\.safetensors"
)
# As their `variant` has it; "" is the one without a name, which both read first.
_ORDER = ("", "fp16", "bf16")


def files_under(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """Every file of these endings, in order. A part may be a link to that of another model: it is looked into, and no link below it."""
    places = [folder, *(one for one in _entries(folder) if one.is_symlink() and one.is_dir())]
    return sorted(Path(where, name) for place in places for where, _, names in os.walk(place) for name in names if name.endswith(endings))


def variant_of(name: str) -> str | None:
    """The precision that the name of a file with weights says, "" for none; None for a file of another name."""
    found = WEIGHTS.fullmatch(name)
    return None if found is None else found["early"] or found["late"] or ""


def chosen_weights(part: Path) -> tuple[str, list[Path]]:
    """Of the weights in the folder of a part those that are read, and what the libraries call that variant; everything where no name is known."""
    files = sorted(part.glob("*.safetensors"))
    for variant in _ORDER:
        if found := [one for one in files if variant_of(one.name) == variant]:
            # In one piece and in several: the libraries read the one.
            whole = [one for one in found if "-of-" not in one.name]
            return variant, whole[:1] or found
    return "", files


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
