"""Plain HTTP for an operator who fetches from the hub: what a name means, then the fetch itself, told line by line."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

from engine import Engine, EngineError, HubOffer, InvalidRequest, NotFound
from ui.canvas.rack import card_views
from ui.canvas.units import method_views
from ui.controls.model import usable_models
from ui.owner import COOKIE, is_operator, is_visitor_id

log = logging.getLogger("easel.page")
_TELL_S = 0.25
_OFF_LINE: dict[str, Any] = {"message": "That did not work.", "hint": "The studio's log says why.", "field": None}

Report = Callable[[int, int], None]


class Wanted(BaseModel):
    name: Annotated[str, Field(max_length=600)]


def add_fetching(app: FastAPI, engine: Engine) -> None:
    @app.post("/hub/loras")
    async def look(request: Request, wanted: Wanted) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """The adapters that a hub id means now: nothing is fetched yet."""
        _check_page(request)
        try:
            _check_person(engine, request, "loras")
            offers = await run_in_threadpool(engine.lora_offers, wanted.name)
        except EngineError as error:
            return JSONResponse(error.to_plain(), 422)
        return JSONResponse({"offers": [_view(offer) for offer in offers]})

    @app.post("/hub/loras/fetch")
    async def fetch_lora(request: Request, wanted: Wanted) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Bring the very file of an offer, named by its id. The last line is the whole rack."""
        _check_page(request)

        def run(report: Report) -> dict[str, Any]:
            offers = engine.lora_offers(wanted.name)
            if len(offers) != 1 or offers[0].id != wanted.name:
                raise NotFound("This offer is not there any more.", "Look it up again.", "loras")
            card = engine.fetch_lora(offers[0], report)
            return {"name": card.name, "cards": card_views(engine.loras(), usable_models(engine))}

        return _told(engine, request, "loras", run)

    @app.post("/hub/preprocessors/fetch")
    async def fetch_preprocessor(request: Request, wanted: Wanted) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Bring the weights of a preprocessor. The last line is all preprocessors."""
        _check_page(request)

        def run(report: Report) -> dict[str, Any]:
            engine.controls.fetch(wanted.name, report)
            return {"name": wanted.name, "methods": method_views(engine.controls.preprocessors())}

        return _told(engine, request, "controls", run)


def _told(engine: Engine, request: Request, field: str, run: Callable[[Report], dict[str, Any]]) -> Response:
    """Lines of {"here", "total"} while it runs, then its result or its error. It goes on when nobody listens any more."""
    try:
        _check_person(engine, request, field)
    except EngineError as error:
        return JSONResponse(error.to_plain(), 422)
    now: dict[str, int] = {}
    ending: list[dict[str, Any]] = []

    def work() -> None:
        try:
            ending.append(run(lambda here, total: now.update(here=here, total=total)))
        except EngineError as error:
            ending.append({"error": error.to_plain()})
        except Exception:
            log.exception("a fetch failed")
            ending.append({"error": _OFF_LINE})

    # Of the server's own: a page that is closed ends the telling, never the fetch; what the server's end cuts off is gone on with.
    threading.Thread(target=work, name="fetch", daemon=True).start()

    async def lines() -> AsyncIterator[str]:
        while not ending:
            if now:
                yield json.dumps(now) + "\n"
            await asyncio.sleep(_TELL_S)
        yield json.dumps(ending[0]) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


def _view(offer: HubOffer) -> dict[str, Any]:
    return {
        "id": offer.id, "title": offer.path, "size": f"{offer.size_bytes / 1e6:.1f} MB", "licence": offer.licence, "base": offer.base,
        "revision": offer.revision[:12],
    }  # fmt: skip


def _check_person(engine: Engine, request: Request, field: str) -> None:
    """Raises `InvalidRequest` where nobody may fetch, or not who asks: it is the operator's disk, and their name at the hub."""
    engine.check_may_fetch(field)
    if not is_operator(engine, request.scope):
        raise InvalidRequest("Only those who run this studio can bring files from the hub.", "Ask them to.", field)


def _check_page(request: Request) -> None:
    # Another site's form can send a body with our cookie, but not a header of its own.
    if "x-easel" not in request.headers or not is_visitor_id(request.cookies.get(COOKIE, "")):
        raise HTTPException(403, "This request did not come from the studio's page.")
