"""The model that a studio draws with where nobody chose another: as it was started, or as its operator chose on the page."""

from __future__ import annotations

import json
import os
import secrets

from engine.contract.errors import InvalidRequest, ModelNotFound
from engine.contract.settings import Settings
from engine.library.catalogue import Catalogue


class DefaultModel:
    """Kept in `studio.json` of the data folder. A start with `--model` counts for as long as it runs."""

    def __init__(self, settings: Settings, models: Catalogue) -> None:
        self._file = settings.data / "studio.json"
        self._given = settings.model
        self._is_given = "model" in settings.model_fields_set
        self._models = models

    @property
    def name(self) -> str:
        """Read at every look, so that servers that share a data folder agree. What is gone, or damaged since, does not count."""
        kept = None if self._is_given else self._kept()
        try:
            return self._given if kept is None else self._models.card(kept).name
        except ModelNotFound:
            return self._given

    def choose(self, name: str) -> None:
        """Raises `ModelNotFound` for one that cannot be used, `InvalidRequest` where the start of the studio has decided."""
        card = self._models.card(name)
        if self._is_given:
            message = f"This studio was started with --model {self._given}."
            raise InvalidRequest(message, "Start it without --model to choose the default here.", "model")
        aside = self._file.with_name(f".studio-{secrets.token_hex(8)}")
        try:
            aside.write_text(json.dumps({"model": card.name}), encoding="utf-8")
            os.replace(aside, self._file)
        finally:
            aside.unlink(missing_ok=True)

    def _kept(self) -> str | None:
        try:
            name = json.loads(self._file.read_text(encoding="utf-8"))["model"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return name if isinstance(name, str) else None
