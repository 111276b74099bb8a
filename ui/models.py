"""Plain HTTP for the Models tab: what is here, what could be, and what an operator does with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from engine import FAMILIES, FAMILY_TITLES, Engine, EngineError, MemoryChoice, ModelCard, ModelOffer, Room, fit, gigabytes
from ui.controls.about import about_view
from ui.live import Loose, read_question
from ui.owner import is_operator

_NOT_YOURS = "Only the operator of this studio may do that."


def add_models(app: FastAPI, engine: Engine) -> None:
    def answer(path: str, act: Callable[[Engine, str], Any], *, for_operators: bool) -> None:
        @app.post(path)
        async def reply(request: Request) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
            given = await read_question(request)
            may_manage = is_operator(engine, request.scope)
            if for_operators and not may_manage:
                raise HTTPException(403, _NOT_YOURS)
            try:
                found = await run_in_threadpool(act, engine, _name(given))
                return JSONResponse({"text": found} if path == "/models/words" else await run_in_threadpool(models_view, engine, may_manage))
            except EngineError as error:
                return JSONResponse(error.to_plain(), 422)

    answer("/models/view", lambda _engine, _name: None, for_operators=False)
    answer("/models/words", lambda engine, name: engine.model_words(name), for_operators=False)
    answer("/models/default", lambda engine, name: engine.choose_default_model(name), for_operators=True)
    answer("/models/remove", lambda engine, name: engine.remove_model(name), for_operators=True)


def models_view(engine: Engine, may_manage: bool) -> dict[str, Any]:
    """What the tab shows: never a path of the server's, never a hash."""
    room, cards, default = engine.room(), engine.models(), engine.default_model
    here = {card.name for card in cards}
    return {
        # What can be used stands first.
        "models": [_model_view(engine, card, room, default) for card in sorted(cards, key=lambda card: card.refusal is not None)],
        "offers": [_offer_view(offer, room) for offer in engine.offers() if offer.name not in here],
        "room": room_words(room, engine.settings.memory),
        "default": default,
        "may_manage": may_manage,
    }


def room_words(room: Room, choice: MemoryChoice) -> str:
    """ "8 GB, NVIDIA RTX 4060", and what the operator has decided about it, if anything."""
    decided = {"everything": "all of a model at once", "lighter": "lighter than it has to be", "lightest": "as light as it can be"}.get(choice)
    return f"{gigabytes(room.bytes)} GB, {room.name}" + (f"; models are laid in {decided}, as the studio was told" if decided else "")


def _model_view(engine: Engine, card: ModelCard, room: Room, default: str) -> dict[str, Any]:
    fits = engine.fit(card.parts) if card.parts else None
    return {
        "name": card.name, "title": card.title, "family": FAMILY_TITLES.get(card.family, ""), "size": size_words(card.bytes_on_disk),
        "licence": card.licence, "note": card.note, "what": card.what, "refusal": card.refusal, "fits": fits.text if fits else "",
        "is_possible": fits is None or fits.is_possible, "is_default": card.name == default, "is_bundled": card.is_bundled,
        "has_words": bool(engine.model_words(card.name)), "about": about_view(card, fits),
    }  # fmt: skip


def _offer_view(offer: ModelOffer, room: Room) -> dict[str, Any]:
    fits, family = fit(offer.parts, room), FAMILY_TITLES[offer.family]
    return {
        "name": offer.name, "title": offer.title, "family": family, "size": size_words(int(offer.disk_gb * 1e9)), "licence": offer.licence,
        "licence_link": offer.licence_link, "card": offer.card, "good_at": offer.good_at, "fits": fits.text, "is_possible": fits.is_possible,
        "command": offer.command, "refusal": None if offer.family in FAMILIES else f"Easel cannot draw with {family} yet.",
    }  # fmt: skip


def size_words(count: int) -> str:
    """ "37 MB", "4.3 GB", as files are counted: in powers of ten."""
    if count < 1e6:
        return "under 1 MB"
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def _name(given: Loose) -> str:
    name = given.get("name", "")
    return name if isinstance(name, str) else ""
