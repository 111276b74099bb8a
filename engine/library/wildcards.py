"""Lists of words on disk: one text file each, one line an option. A person's own list goes before a bundled one of its name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from engine.contract.errors import InvalidRequest, NotFound
from engine.library.safe_path import safe_path

BUNDLED_WILDCARDS = Path(__file__).resolve().parents[2] / "presets" / "wildcards"
BYTES_MAX = 512 * 1024


class Wildcards:
    """Files are read at every look, so a list that is dropped in is there without a restart."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)

    def names(self) -> list[str]:
        return sorted({path.stem for root in self._roots for path in root.glob("*.txt")})

    def lines(self, name: str, control: str) -> tuple[str, ...]:
        """The options of a list. Empty lines and those that begin with # are none. Raises `InvalidRequest` about `control`."""
        path = self._path(name)
        if path is None:
            known = ", ".join(f"__{one}__" for one in self.names()[:8])
            raise InvalidRequest(f"There is no wildcard list named {name[:40]} here.", f"Choose one of {known}.", control)
        try:
            if path.stat().st_size > BYTES_MAX:
                raise InvalidRequest(f"The wildcard list {name} is too large.", f"Keep it under {BYTES_MAX // 1024} KB.", control)
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            raise InvalidRequest(f"The wildcard list {name} cannot be read.", "Save it as plain text in UTF-8.", control) from error
        lines = tuple(line for raw in text.splitlines() if (line := raw.strip()) and not line.startswith("#"))
        if not lines:
            raise InvalidRequest(f"The wildcard list {name} is empty.", "Write one option on each line.", control)
        return lines

    def _path(self, name: str) -> Path | None:
        for root in self._roots:
            try:
                path = safe_path(root, f"{name}.txt")
            except NotFound:
                continue
            if path.is_file():
                return path
        return None
