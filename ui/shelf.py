"""Plain HTTP for the LoRA rack: small pictures out, files in."""

from __future__ import annotations

import tempfile
from typing import BinaryIO, cast

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from engine import Engine, EngineError
from ui.canvas.rack import card_views
from ui.controls.model import usable_models
from ui.owner import COOKIE, is_visitor_id

# Somewhat above what the engine takes, so that its own sentence is the one that is read.
_BODY_MAX = 1024**3 + 1024**2
_KEEP_IN_MEMORY = 8 * 1024**2


def add_shelf(app: FastAPI, engine: Engine) -> None:
    @app.get("/loras/{name}.jpg")
    def picture(name: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        """The small picture of an adapter. Its address changes with the file, so it may be kept."""
        try:
            found = engine.lora_picture(name)
        except EngineError as error:
            raise HTTPException(404, error.message) from error
        if found is None:
            raise HTTPException(404, "This adapter has no picture.")
        headers = {"Cache-Control": "private, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return Response(found, media_type="image/jpeg", headers=headers)

    @app.post("/loras")
    async def bring(request: Request, name: str = "") -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """Keep an adapter: the file is the body, as it is. The answer is the whole rack."""
        # Another site's form can send a body with our cookie, but not a header of its own.
        if "x-easel" not in request.headers or not is_visitor_id(request.cookies.get(COOKIE, "")):
            raise HTTPException(403, "This request did not come from the studio's page.")
        try:
            # Before a byte of it is read.
            engine.check_may_add_loras()
            with tempfile.SpooledTemporaryFile(_KEEP_IN_MEMORY) as body:
                total = 0
                async for part in request.stream():
                    if (total := total + len(part)) > _BODY_MAX:
                        break
                    body.write(part)
                body.seek(0)
                card = await run_in_threadpool(engine.add_lora, name[:300], cast(BinaryIO, body))
        except EngineError as error:
            return JSONResponse(error.to_plain(), 422)
        return JSONResponse({"name": card.name, "cards": card_views(engine.loras(), usable_models(engine))})
