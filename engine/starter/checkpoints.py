"""Checkpoints of every training: whole or not there, and a damaged one says so before anything is spent on it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from engine.contract.errors import DamagedFile


def check_checkpoint(path: Path) -> None:
    """Raises `DamagedFile`, in words, for a checkpoint that is cut short or altered. A missing one is fine: training begins."""
    if not path.exists():
        return
    try:
        with zipfile.ZipFile(path) as archive:
            is_sound = archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError):
        # What a cut file is taken for depends on where it was cut; an unknown way of packing is damage too.
        is_sound = False
    if not is_sound:
        raise DamagedFile(f"The checkpoint {path.name} in {path.parent} is damaged.", "Delete it: training then begins from the weights before it.")


def write_checkpoint(target: Path, content: Mapping[str, Any]) -> None:
    """Aside, then rename: a full disk or a kill leaves the last good checkpoint."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_suffix(".part")
    try:
        torch.save(dict(content), aside)
        os.replace(aside, target)
    except (OSError, RuntimeError) as error:
        aside.unlink(missing_ok=True)
        print(f"The checkpoint could not be written ({error}); the one before is kept. Free some space.", flush=True)
