"""From phone to desktop: one device shows a short code, another enters it and is the same visitor from then on."""

from __future__ import annotations

import threading
from typing import Annotated

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from engine import Busy, Engine, EngineError, NotFound
from ui.bell import Bell
from ui.owner import page_owner, set_visitor_cookie, visitor_name
from ui.throttle import Throttle, address_of

# Forty bits against ten guesses from an address and three hundred from everywhere in five minutes.
_WRONG_BY_ADDRESS, _WRONG_BY_ALL = 10, 300
_MADE_BY_ADDRESS, _MADE_BY_ALL = 30, 3000
_EVERYBODY = "everybody"


class Entered(BaseModel):
    """A code as it was typed; with `brings`, what this device has comes along."""

    code: Annotated[str, Field(max_length=64)]
    brings: bool = False


def add_devices(app: FastAPI, engine: Engine, bell: Bell) -> None:
    wrong = Throttle(by_address=_WRONG_BY_ADDRESS, by_name=_WRONG_BY_ALL)
    made = Throttle(by_address=_MADE_BY_ADDRESS, by_name=_MADE_BY_ALL)
    # One look at a time: a hundred guesses sent at once are counted before the next is looked at.
    one = threading.Lock()

    @app.post("/device/code")
    def show(request: Request) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """A code for this visitor, good once and for three minutes."""
        owner = _owner(request)
        with one:
            if wait_s := made.wait_s(address_of(request), _EVERYBODY):
                return _wait(wait_s)
            made.failed(address_of(request), _EVERYBODY)
        code = engine.device_code(owner)
        return JSONResponse({"code": code.text, "seconds": code.seconds})

    @app.post("/device/join")
    def join(request: Request, entered: Entered) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """Become the visitor whose code it is: the answer sets their cookie."""
        owner, address = _owner(request), address_of(request)
        with one:
            if wait_s := wrong.wait_s(address, _EVERYBODY):
                return _wait(wait_s)
            try:
                into = engine.use_device_code(entered.code, owner, brings=entered.brings)
            except NotFound as error:
                wrong.failed(address, _EVERYBODY)
                return JSONResponse(error.to_plain(), 422)
            except EngineError as error:
                return JSONResponse(error.to_plain(), 422)
        bell.ring(into)
        answer = JSONResponse({"said": "This device shows the same pictures and jobs now."})
        set_visitor_cookie(answer, visitor_name(into), request)
        return answer

    def _owner(request: Request) -> str:
        owner = page_owner(request)
        if engine.people is not None:
            raise HTTPException(404, "Sign in with your name on the other device: your pictures are there.")
        return owner


def _wait(wait_s: int) -> JSONResponse:
    busy = Busy("Too many tries.", f"Wait {wait_s // 60 + 1} min, then try again.", "code")
    return JSONResponse(busy.to_plain(), 429, {"Retry-After": str(wait_s)})
