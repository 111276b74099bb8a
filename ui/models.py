"""Plain HTTP for the Models tab: what is here, what could be, what is on its way, and what an operator does with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from engine import (
    FAMILIES,
    FAMILY_TITLES,
    Download,
    Engine,
    EngineError,
    HubModel,
    ModelCard,
    ModelOffer,
    Precision,
    Room,
    gigabytes,
    pictures_taken,
    samplers_of,
)  # fmt: skip
from ui.controls.about import about_view
from ui.controls.quality import quality_views
from ui.live import Loose, read_question
from ui.owner import is_operator

_NOT_YOURS = "Only the operator of this studio may do that."
Act = Callable[[Engine, Loose], dict[str, Any] | None]


def add_models(app: FastAPI, engine: Engine) -> None:
    def answer(path: str, act: Act, *, for_operators: bool = True) -> None:
        """What `act` finds, or else how things stand now."""

        @app.post(path)
        async def reply(request: Request) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
            given = await read_question(request)
            may_manage = is_operator(engine, request.scope)
            if for_operators and not may_manage:
                raise HTTPException(403, _NOT_YOURS)
            try:
                found = await run_in_threadpool(act, engine, given)
                return JSONResponse(await run_in_threadpool(models_view, engine, may_manage) if found is None else found)
            except EngineError as error:
                return JSONResponse(error.to_plain(), 422)

    answer("/models/view", lambda _engine, _given: None, for_operators=False)
    answer("/models/words", lambda engine, given: {"text": engine.model_words(_name(given))}, for_operators=False)
    answer("/models/default", lambda engine, given: engine.choose_default_model(_name(given)))
    answer("/models/remove", _remove)
    answer("/models/memory", lambda engine, given: engine.memory.choose(_name(given)))
    # From the hub: first what a name means, then, by the id of that, the download.
    answer("/models/look", lambda engine, given: look_view(engine, engine.downloads.look(_name(given), _precision(given))))
    answer("/models/download", lambda engine, given: _then_downloads(engine, engine.downloads.start(_name(given), _precision(given))))
    answer("/models/downloads", lambda engine, _given: downloads_view(engine))
    answer("/models/downloads/resume", lambda engine, given: _then_downloads(engine, engine.downloads.resume(_name(given))))
    answer("/models/downloads/stop", lambda engine, given: _then_downloads(engine, engine.downloads.stop(_name(given))))
    answer("/models/downloads/remove", lambda engine, given: _then_downloads(engine, engine.downloads.remove(_name(given))))


def models_view(engine: Engine, may_manage: bool) -> dict[str, Any]:
    """What the tab shows: never a path of the server's, never a hash."""
    room, cards, default = engine.memory.room(), engine.models(), engine.default_model
    here = {card.name for card in cards}
    suggestion = engine.suggestion() if may_manage else None
    return {
        # What can be used stands first.
        "models": [_model_view(engine, card, room, default) for card in sorted(cards, key=lambda card: card.refusal is not None)],
        "offers": [_offer_view(engine, offer) for offer in engine.offers() if offer.name not in here],
        "suggestion": suggestion.name if suggestion else None,
        "room": f"{gigabytes(room.bytes)} GB, {room.name}",
        "memory": memory_view(engine),
        "default": default,
        "may_manage": may_manage,
        **(downloads_view(engine) if may_manage else {"downloads": []}),
    }


def memory_view(engine: Engine) -> dict[str, Any]:
    """How models are laid into memory, and every other way with its sentence."""
    return {
        "choice": engine.memory.choice,
        "is_given": engine.memory.is_given,
        "plans": [{"choice": plan.choice, "title": plan.title, "what": plan.what, "refusal": plan.refusal} for plan in engine.memory.plans()],
    }


def look_view(engine: Engine, plan: HubModel) -> dict[str, Any]:
    """What somebody has to know before they agree."""
    fits, free = engine.memory.fit(plan.parts), engine.downloads.disk_free()
    other: Precision = "full" if plan.precision == "half" else "half"
    return {
        "id": plan.id, "precision": plan.precision, "title": plan.title, "repository": plan.repository, "commit": plan.revision[:12],
        "family": FAMILY_TITLES[plan.family], "size": size_words(plan.size_bytes), "files": len(plan.files), "licence": plan.licence,
        "is_gated": plan.is_gated, "fits": fits.text, "is_possible": fits.is_possible, "free": size_words(free),
        "has_disk": free > plan.size_bytes * 1.1, "card": f"https://huggingface.co/{plan.repository}",
        "other": None if plan.other_bytes is None else {"precision": other, "size": size_words(plan.other_bytes)},
    }  # fmt: skip


def downloads_view(engine: Engine) -> dict[str, Any]:
    return {"downloads": [_download_view(one) for one in engine.downloads.all()]}


def _download_view(one: Download) -> dict[str, Any]:
    name, _, commit = one.source.partition("@")
    return {
        "name": one.name, "title": one.title, "from": f"{name} @ {commit[:12]}", "licence": one.licence, "state": one.state, "is_open": one.is_open,
        "share": one.here_bytes / max(one.total_bytes, 1), "sizes": of_words(one.here_bytes, one.total_bytes),
        "file": one.file, "file_share": one.file_here_bytes / max(one.file_bytes, 1), "file_sizes": of_words(one.file_here_bytes, one.file_bytes),
        "count": f"{one.files_here} of {one.files} files", "speed": speed_words(one.bytes_per_s), "left": left_words(one.left_s), "error": one.error,
    }  # fmt: skip


def _then_downloads(engine: Engine, _done: object) -> dict[str, Any]:
    return downloads_view(engine)


def _remove(engine: Engine, given: Loose) -> None:
    engine.remove_model(_name(given))


def _model_view(engine: Engine, card: ModelCard, room: Room, default: str) -> dict[str, Any]:
    fits = engine.memory.fit(card.parts) if card.parts else None
    return {
        "name": card.name, "title": card.title, "family": card.family_title, "size": size_words(card.bytes_on_disk),
        "licence": card.licence, "note": card.note, "what": card.what, "refusal": card.refusal, "fits": fits.text if fits else "",
        "is_possible": fits is None or fits.is_possible, "is_default": card.name == default, "is_bundled": card.is_bundled,
        "has_words": bool(engine.model_words(card.name)), "about": about_view(card, fits), "source": _source(card),
        "edits": pictures_taken(card), "samplers": samplers_of(card.family) if card.family in FAMILIES else (),
        "qualities": [] if card.refusal else quality_views(engine.qualities(card.name)),
    }  # fmt: skip


def _offer_view(engine: Engine, offer: ModelOffer) -> dict[str, Any]:
    fits, family = engine.memory.fit(offer.parts), FAMILY_TITLES[offer.family]
    return {
        "name": offer.name, "title": offer.title, "family": family, "size": size_words(int(offer.disk_gb * 1e9)), "licence": offer.licence,
        "licence_link": offer.licence_link, "card": offer.card, "good_at": offer.good_at, "fits": fits.text, "is_possible": fits.is_possible,
        "id": offer.id, "command": offer.command, "refusal": None if offer.family in FAMILIES else f"Easel cannot draw with {family} yet.",
    }  # fmt: skip


def size_words(count: int) -> str:
    """ "37 MB", "4.3 GB", as files are counted: in powers of ten."""
    if count < 1e6:
        return "under 1 MB"
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def of_words(here: int, total: int) -> str:
    """ "1.2 of 6.9 GB", both in the unit of the whole."""
    unit, name = (1e9, "GB") if total >= 1e9 else (1e6, "MB") if total >= 1e6 else (1e3, "kB")
    return f"{here / unit:.1f} of {total / unit:.1f} {name}"


def speed_words(bytes_per_s: float | None) -> str:
    """ "24 MB/s"; "" where nothing can be told."""
    if not bytes_per_s:
        return ""
    return f"{bytes_per_s / 1e6:.0f} MB/s" if bytes_per_s >= 1e7 else f"{bytes_per_s / 1e6:.1f} MB/s" if bytes_per_s >= 1e5 else "under 0.1 MB/s"


def left_words(seconds: float | None) -> str:
    """ "40 s left", "12 min left", "3.5 h left"; "" where nothing can be told."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{max(1, round(seconds))} s left"
    return f"{seconds / 60:.0f} min left" if seconds < 5400 else f"{seconds / 3600:.1f} h left"


def _source(card: ModelCard) -> str:
    """Where it was fetched from, its commit as short as people write it."""
    name, _, commit = card.source.partition("@")
    return f"{name} @ {commit[:12]}" if commit else name


def _name(given: Loose) -> str:
    name = given.get("name", "")
    return name if isinstance(name, str) else ""


def _precision(given: Loose) -> Precision:
    return "full" if given.get("precision") == "full" else "half"
