"""What an operator chose on the page and a restart keeps: `studio.json` in the data folder."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any


class StudioFile:
    """Read at every look, so that servers that share a data folder agree."""

    def __init__(self, data: Path) -> None:
        self._file = data / "studio.json"

    def get(self, name: str) -> str | None:
        value = self._read().get(name)
        return value if isinstance(value, str) else None

    def keep(self, name: str, value: str) -> None:
        """The other choices stay as they are."""
        aside = self._file.with_name(f".studio-{secrets.token_hex(8)}")
        try:
            aside.write_text(json.dumps({**self._read(), name: value}), encoding="utf-8")
            os.replace(aside, self._file)
        finally:
            aside.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
