"""Which release of a family a denoiser is, where that decides whether it edits by a sentence.

FLUX.1 Kontext has the tensors of FLUX.1 [dev], and Qwen-Image-Edit those of Qwen-Image, under the same names and in the same
sizes. What tells them is, in this order: a note beside the file, a tensor that only the newest one carries, the words that its
maker wrote into its header, its name. Where none of them does, it is taken for one that does not edit, and the page says how to
say otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

# The words of a header that name the model; others may name what it was made from.
_TITLES = ("modelspec.title", "modelspec.architecture", "general.name", "general.basename", "general.finetune")


@dataclass(frozen=True)
class Release:
    """`title` is "" for one that does not edit. `settings` are those of its denoiser that differ between the releases; `called` finds it in a name, `tensor` in a file."""

    pipeline: str
    title: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    called: str = ""
    tensor: str = ""


# The more particular name stands first, the one that does not edit last.
RELEASES: dict[str, tuple[Release, ...]] = {
    "flux1": (Release("FluxKontextPipeline", "FLUX.1 Kontext", called="kontext"), Release("FluxPipeline")),
    "qwen": (
        # Tokens of the pictures beside are told the time at which nothing is noise.
        Release("QwenImageEditPlusPipeline", "Qwen-Image-Edit 2511", {"zero_cond_t": True}, r"edit\D*2511", "__index_timestep_zero__"),
        Release("QwenImageEditPlusPipeline", "Qwen-Image-Edit 2509", {"zero_cond_t": False}, r"edit\D*2509|edit\W?plus"),
        Release("QwenImageEditPipeline", "Qwen-Image-Edit", {"zero_cond_t": False}, r"(?<!cr)edit(?!ed|ion)"),
        Release("QwenImagePipeline", settings={"zero_cond_t": False}),
    ),
}


@dataclass(frozen=True)
class Told:
    """A release and what tells it, in words; `by` is "" where nothing does. `is_inside`: the file itself tells it, or nothing does."""

    release: Release
    by: str
    is_inside: bool = True


def release_of(family: str, *, name: str, tensors: Collection[str], words: Mapping[str, str], note: object = None) -> Told | None:
    """The release of a denoiser; None where the releases of its family do not differ. `note` is what `edits` says beside the file.

    Raises `ValueError` for a note that names none.
    """
    if (known := RELEASES.get(family)) is None:
        return None
    if note is not None:
        return Told(_noted(known, note), "the note beside it says so", is_inside=False)
    ways = (
        (next((one for one in known if one.tensor in tensors), None), "one of its tensors says so", True),
        (_named(known, " ".join(words.get(title, "") for title in _TITLES)), "its header says so", True),
        (_named(known, name), "its name says so", False),
    )
    return next((Told(found, by, is_inside) for found, by, is_inside in ways if found is not None), Told(known[-1], ""))


def names_of(family: str) -> tuple[str, ...]:
    """What a note may say for the releases of a family that edit."""
    return tuple(one.title for one in RELEASES.get(family, ()) if one.title)


def _noted(known: tuple[Release, ...], note: object) -> Release:
    if isinstance(note, bool):
        return known[0] if note else known[-1]
    if isinstance(note, str) and (found := _named(known, note)) is not None:
        return found
    raise ValueError("no release of this family")


def _named(known: tuple[Release, ...], text: str) -> Release | None:
    return next((one for one in known if one.called and re.search(one.called, text, re.IGNORECASE)), None)
