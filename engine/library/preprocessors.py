"""Weights of preprocessors in `data/preprocessors`: fetched once, when an operator says so, and never behind anyone's back."""

from __future__ import annotations

import shutil
from pathlib import Path

from engine.contract.controls import PreprocessorCard
from engine.contract.errors import DiskFull, EngineError, InvalidRequest, ModelNotFound
from engine.contract.preprocessors import PREPROCESSORS, PreprocessorFacts
from engine.library.hub import Hub, Report


class Preprocessors:
    """A folder `root/<name>` is there when everything in it is: it is filled aside and then renamed."""

    def __init__(self, root: Path, hub: Hub | None = None) -> None:
        self._root = root
        self._hub = hub or Hub()

    def cards(self) -> list[PreprocessorCard]:
        return [self.card(name) for name in PREPROCESSORS]

    def card(self, name: str) -> PreprocessorCard:
        """Raises `InvalidRequest`."""
        facts = _facts(name)
        return PreprocessorCard(
            name=name, title=facts.title, line=facts.line, kind=facts.kind, licence=facts.licence, needs_download=bool(facts.weights),
            size_mb=round(facts.bytes_total / 1e6), is_ready=self.is_ready(name), settings=facts.knobs,
        )  # fmt: skip

    def is_ready(self, name: str) -> bool:
        return all((self._root / name / file.path).is_file() for file in _facts(name).weights)

    def folder(self, name: str) -> Path | None:
        """Where its weights lie; None for one that needs none. Raises `ModelNotFound` when they are not here yet."""
        card = self.card(name)
        if not card.is_ready:
            raise ModelNotFound(
                f"{card.title} is not set up here: its weights ({card.size_mb} MB, licence: {card.licence}) have not been fetched.",
                f"An operator fetches them once with: python -m engine fetch-preprocessor {name}. Canny needs none.",
                "controls",
            )
        return self._root / name if card.needs_download else None

    def fetch(self, name: str, report: Report | None = None) -> Path:
        """Bring the weights of one preprocessor here. Raises `EngineError` that says why it could not."""
        facts, target = _facts(name), self._root / name
        if not facts.weights:
            raise InvalidRequest(f"{facts.title} needs no weights.", "It is ready.", "controls")
        if self.is_ready(name):
            return target
        aside = self._root / f".{name}.part"
        try:
            self._hub.fetch(facts.weights, aside, what=facts.title, field="controls", report=report)
        except DiskFull:
            raise
        except EngineError as error:
            by_hand = f"Or put {', '.join(one.path for one in facts.weights)} into data/preprocessors/{name} by hand."
            message = f"The weights of {facts.title} could not be fetched. {error.message}"
            raise type(error)(message, f"{error.hint} {by_hand}", "controls") from error
        shutil.rmtree(target, ignore_errors=True)
        aside.replace(target)
        return target


def _facts(name: str) -> PreprocessorFacts:
    facts = PREPROCESSORS.get(name)
    if facts is None:
        raise InvalidRequest(f"There is no preprocessor named {name[:40]!r}.", f"Choose one of {', '.join(PREPROCESSORS)}.", "controls")
    return facts
