"""Models from a terminal: what is here and how it lies in memory, what one on the hub is, and bringing it here after its size and licence were shown."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import closing

from engine import FAMILY_TITLES, Engine, HubModel, InvalidRequest, Precision
from engine.terminal.fetching import is_agreed, open_engine

_TELL_S = 0.2


def list_models(options: argparse.Namespace) -> int:
    """A line for each model that is here, and for each that is half here."""
    with closing(open_engine(options)) as engine:
        default = engine.default_model
        for card in engine.models():
            size, licence, mark = _gigabytes(card.bytes_on_disk), card.licence or "licence not stated", "  (default)" if card.name == default else ""
            print(f"{card.name:34}{card.family_title:20}{size:>10}  {licence}{mark}" + (f"  {card.source}" if card.source else ""))
            if card.refusal is not None:
                print(f"    cannot be used: {card.refusal}")
        for one in engine.downloads.all():
            share = f"{_gigabytes(one.here_bytes)} of {_gigabytes(one.total_bytes)} are here"
            print(f"{one.name:34}{share}: python -m engine models download {one.source}")
        print(_memory_words(engine))
    return 0


def memory(options: argparse.Namespace) -> int:
    """Every way to lay models into memory; with a name, the one that the studio takes from the next picture on."""
    with closing(open_engine(options)) as engine:
        if options.name is not None:
            engine.memory.choose(options.name)
            print(_memory_words(engine))
            return 0
        for plan in engine.memory.plans():
            print(f"{plan.choice:18}{plan.title}{'  (chosen)' if plan.choice == engine.memory.choice else ''}")
            print(f"    {plan.what}" + (f" Not here: {plan.refusal}" if plan.refusal else ""))
    return 0


def _memory_words(engine: Engine) -> str:
    """The memory plan in a line, and what the default model takes under it."""
    plan, card = next(one for one in engine.memory.plans() if one.choice == engine.memory.choice), engine.model()
    return f"Memory plan: {plan.title}. {plan.what} {card.title}: {engine.memory.fit(card.parts).text}. Others: python -m engine models memory"


def look(options: argparse.Namespace) -> int:
    """What a hub id means now; nothing is fetched."""
    with closing(open_engine(options)) as engine:
        print(_described(engine, engine.downloads.look(_wanted(options), _precision(options))))
    return 0


def download(options: argparse.Namespace) -> int:
    """Show what would be fetched, and fetch it once somebody has agreed."""
    with closing(open_engine(options)) as engine:
        plan = engine.downloads.look(_wanted(options), _precision(options))
        print(_described(engine, plan))
        if not is_agreed(options):
            return 1
        card = engine.model(engine.downloads.fetch(plan, progress()).name)
        print(f"{card.title} is here: python -m engine generate … --model {card.name}")
    return 0


def progress() -> Callable[[int, int], None]:
    """One line on stderr: gigabytes, per cent, speed, time left."""
    begun_s, begun_at, told_s = time.monotonic(), -1, 0.0

    def report(here: int, total: int) -> None:
        nonlocal begun_at, told_s
        begun_at = here if begun_at < 0 else begun_at
        now = time.monotonic()
        if not sys.stderr.isatty() or (now - told_s < _TELL_S and here < total):
            return
        told_s, speed = now, (here - begun_at) / max(now - begun_s, 0.001)
        left = f", {(total - here) / speed:.0f} s left" if speed and here < total else ""
        line = f"{_gigabytes(here)} of {_gigabytes(total)}, {here * 100 // max(total, 1)} %, {speed / 1e6:.1f} MB/s{left}"
        print(f"\r{line:70}", end="\n" if here >= total else "", file=sys.stderr, flush=True)

    return report


def _described(engine: Engine, plan: HubModel) -> str:
    """What somebody has to know before they agree."""
    fits = engine.memory.fit(plan.parts)
    other = "full" if plan.precision == "half" else "half"
    lines = [
        f"{plan.title}: {FAMILY_TITLES[plan.family]}, {_gigabytes(plan.size_bytes)} in {len(plan.files)} files, licence: {plan.licence or 'not stated'}.",
        f"{plan.id}" + (", shared with people who have agreed to its terms." if plan.is_gated else ""),
        f"Memory: {fits.text}. Disk: {_gigabytes(engine.downloads.disk_free())} free.",
    ]
    if plan.other_bytes is not None:
        lines.append(f"In {other} precision it has {_gigabytes(plan.other_bytes)}" + (": --full." if other == "full" else "."))
    return "\n".join(lines)


def _wanted(options: argparse.Namespace) -> str:
    if options.name is None:
        raise InvalidRequest(f"models {options.act} needs a name.", "Write owner/name, as on huggingface.co.", "model")
    return options.name


def _precision(options: argparse.Namespace) -> Precision:
    return "full" if options.full else "half"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


ACTS = {"list": list_models, "look": look, "download": download, "memory": memory}
