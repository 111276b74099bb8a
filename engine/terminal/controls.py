"""Control units as one flag says them, and the weights of preprocessors fetched by an operator."""

from __future__ import annotations

import argparse
import re
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from engine import Engine, InvalidRequest, NotFound, Settings

EXAMPLE = "canny:sketch.png:0.8"
# A file may have colons in its name; what follows it is told from it by being a number.
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)"
_UNIT = re.compile(
    rf"(?P<preprocessor>[^:]+):(?P<file>.+?)(?::(?P<weight>{_NUMBER})(?::(?P<start>{_NUMBER})-(?P<end>{_NUMBER}))?(?::(?P<control>[^:]+))?)?"
)


def read_unit(text: str) -> tuple[Path, dict[str, Any]]:
    """Picture and values of "preprocessor:file:weight:start-end:model", of which the last three may be left out."""
    found = _UNIT.fullmatch(text.strip())
    if found is None:
        raise InvalidRequest(f"--control is written like this: --control {EXAMPLE}", "Behind it may follow :start-end and :model.", "control")
    values = {name: value.strip() for name, value in found.groupdict().items() if value is not None}
    return Path(values.pop("file")), values


def fetch_preprocessor(options: argparse.Namespace) -> int:
    """Say what would be fetched, and fetch it once somebody has agreed. Without a name, list them all."""
    chosen: dict[str, Any] = {} if options.data is None else {"data": Path(options.data)}
    with closing(Engine(Settings(**chosen))) as engine:
        cards = {card.name: card for card in engine.preprocessors()}
        if options.name is None:
            for card in cards.values():
                state = "ready" if card.is_ready else f"{card.size_mb} MB to fetch"
                print(f"{card.name:18}{state:20}{card.licence:32}{card.title}")
            return 0
        card = cards.get(options.name)
        if card is None:
            raise NotFound(f"There is no preprocessor named {options.name}.", f"Choose one of {', '.join(cards)}.", "controls")
        if card.is_ready:
            print(f"{card.title} is ready.")
            return 0
        print(f"{card.title}: {card.size_mb} MB from huggingface.co, licence: {card.licence}.")
        if not options.yes and not _agreed():
            print("Nothing was fetched.", file=sys.stderr)
            return 1
        print(f"{card.title} is ready in {engine.fetch_preprocessor(card.name)}.")
    return 0


def _agreed() -> bool:
    try:
        return input("Fetch it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
