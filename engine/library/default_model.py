"""The model that a studio draws with where nobody chose another: as it was started, or as its operator chose on the page."""

from __future__ import annotations

from engine.contract.errors import InvalidRequest, ModelNotFound
from engine.contract.settings import Settings
from engine.library.catalogue import Catalogue
from engine.library.studio_file import StudioFile


class DefaultModel:
    """A start with `--model` counts for as long as it runs."""

    def __init__(self, settings: Settings, models: Catalogue) -> None:
        self._kept = StudioFile(settings.data)
        self._given = settings.model
        self._is_given = "model" in settings.model_fields_set
        self._models = models

    @property
    def name(self) -> str:
        """What is gone, or damaged since, does not count."""
        kept = None if self._is_given else self._kept.get("model")
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
        self._kept.keep("model", card.name)
