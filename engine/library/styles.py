"""Styles on disk: `presets/styles/*.json`, a group to a file, and a person's own in `data/styles`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.contract.errors import InvalidRequest
from engine.contract.styles import Style

BUNDLED_STYLES = Path(__file__).resolve().parents[2] / "presets" / "styles"
BYTES_MAX = 256 * 1024
log = logging.getLogger("easel.styles")


class Styles:
    """Files are read at every look, so one that is dropped in is there without a restart."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)

    def cards(self) -> list[Style]:
        """Bundled ones first, in the order of their files. A file that is no list of styles is logged and left out."""
        found: dict[str, Style] = {}
        for path in (path for root in self._roots for path in sorted(root.glob("*.json"))):
            try:
                for style in read_styles(path):
                    found.setdefault(style.name.casefold(), style)
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                log.warning("styles: %s is left out (%s)", path.name, type(error).__name__)
        return list(found.values())

    def card(self, name: str) -> Style:
        """Capitals do not count. Raises `InvalidRequest`."""
        for style in self.cards():
            if style.name.casefold() == name.strip().casefold():
                return style
        raise InvalidRequest(f"There is no style named {name[:60]} here.", "Choose one from the list.", "style")


def read_styles(path: Path) -> list[Style]:
    """Raises `ValueError` and its kin where the file is not {"group": …, "styles": [{…}, …]}."""
    if path.stat().st_size > BYTES_MAX:
        raise ValueError("too large")
    plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    try:
        return [Style.model_validate({"group": plain["group"], **one}) for one in plain["styles"]]
    except ValidationError as error:
        raise ValueError("not a style") from error
