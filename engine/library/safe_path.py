"""The one way in which a caller's name becomes a path."""

from __future__ import annotations

import re
from pathlib import Path

from engine.contract.errors import NotFound

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


def name_problem(name: str) -> str | None:
    """Why requests, prompts and recipes cannot name a file or folder that is called so, and what to do; None where they can."""
    if _NAME.fullmatch(name):
        return None
    plain = _ODD.sub("-", name).replace("-.", ".").strip("-.")
    example = f", for example {plain}" if 0 < len(plain) <= 64 else ""
    return f"nothing can name it. Rename it to at most 64 letters, digits, dots, dashes and underscores{example}."


def safe_path(root: Path, name: str) -> Path:
    """`root/name`, resolved. Raises `NotFound` for anything but a plain name that stays inside `root`."""
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise NotFound("There is nothing of that name here.", "Names have letters, digits, dots, dashes and underscores.")
    base = root.resolve()
    path = (base / name).resolve()
    if path.parent != base:
        raise NotFound("There is nothing of that name here.", "Links that lead out of the folder are not followed.")
    return path
