"""What an operator fetches from the hub: weights of preprocessors and LoRA files, after their size and licence were shown."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from engine import Engine, HubOffer, NotFound, Settings


def fetch_preprocessor(options: argparse.Namespace) -> int:
    """Say what would be fetched, and fetch it once somebody has agreed. Without a name, list them all."""
    with closing(open_engine(options)) as engine:
        cards = {card.name: card for card in engine.controls.preprocessors()}
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
        if not is_agreed(options):
            return 1
        print(f"{card.title} is ready in {engine.controls.fetch(card.name, progress())}.")
    return 0


def fetch_lora(options: argparse.Namespace) -> int:
    """Say what a hub id means now, and fetch it once somebody has agreed. Where it means several files, list them."""
    with closing(open_engine(options)) as engine:
        first, *others = engine.lora_offers(options.name)
        if others:
            print(f"{first.repository} holds {len(others) + 1} adapters. Name one:")
            for offer in (first, *others):
                print(f"  {offer.repository}/{offer.path}  {offer.size_bytes / 1e6:.1f} MB")
            return 1
        print(described(first))
        if not is_agreed(options):
            return 1
        card = engine.fetch_lora(first, progress())
        print(f"{card.name} is in the rack: --lora {card.name}:0.8")
    return 0


def described(offer: HubOffer) -> str:
    """What somebody has to know before they agree."""
    facts = [f"{offer.size_bytes / 1e6:.1f} MB", f"licence: {offer.licence or 'not stated'}", f"for {offer.base}" if offer.base else ""]
    return f"{offer.path} of {offer.repository} at {offer.revision[:12]}: {', '.join(fact for fact in facts if fact)}."


def progress() -> Callable[[int, int], None]:
    """A line that counts to 100 %, on stderr, where somebody sees it."""
    shown = -1

    def report(here: int, total: int) -> None:
        nonlocal shown
        share = here * 100 // max(total, 1)
        if share != shown and sys.stderr.isatty():
            print(f"\r{share:3} %", end="\n" if share == 100 else "", file=sys.stderr, flush=True)
        shown = share

    return report


def open_engine(options: argparse.Namespace) -> Engine:
    """The engine of the data folder that was named; nothing is started."""
    chosen: dict[str, Any] = {} if options.data is None else {"data": Path(options.data)}
    return Engine(Settings(**chosen))


def is_agreed(options: argparse.Namespace) -> bool:
    """Whether somebody says yes, now or by --yes."""
    if options.yes:
        return True
    try:
        agreed = input("Fetch it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        agreed = False
    if not agreed:
        print("Nothing was fetched.", file=sys.stderr)
    return agreed
