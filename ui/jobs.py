"""What a visitor does with their jobs: stop, pause, resume, skip, retry, duplicate, move, put away. One route for all of it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from engine import Engine, EngineError, InvalidRequest, NotFound
from ui.bell import Bell
from ui.owner import page_owner

_ID = r"^[0-9a-f]{32}$"
_GONE = NotFound("This job is over already.", "Its pictures are among the results.")


class Wanted(BaseModel):
    """What to do with a job; with `sheet`, stop all that is open of it. `picture` (from 0) is the one to skip.

    `keep` is for stopping: what there is of the picture becomes a result.
    """

    do: Literal["stop", "pause", "resume", "skip", "retry", "duplicate", "up", "down", "away"]
    job: Annotated[str, Field(pattern=_ID)] | None = None
    sheet: Annotated[str, Field(pattern=_ID)] | None = None
    picture: Annotated[int, Field(ge=0, le=1000)] = 0
    keep: bool = False


def add_jobs(app: FastAPI, engine: Engine, bell: Bell) -> None:
    @app.post("/jobs")
    def do(request: Request, wanted: Wanted) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """`said` is for a live region of the page; a refusal says what to do instead."""
        owner = page_owner(request)
        try:
            said = _stop_sheet(engine, wanted.sheet, owner, keep=wanted.keep) if wanted.sheet else _do(engine, wanted, owner)
        except EngineError as error:
            return JSONResponse(error.to_plain(), 422)
        finally:
            bell.ring(owner)
        return JSONResponse({"said": said})


def _do(engine: Engine, wanted: Wanted, owner: str) -> str:
    """What was done, in words. Raises `EngineError`."""
    job = engine.job(wanted.job or "", owner)
    match wanted.do:
        case "stop":
            return _sure(engine.cancel(job.id, owner=owner, keep=wanted.keep), "Stopping")
        case "pause":
            return _sure(engine.pause(job.id, owner), "Pausing")
        case "resume":
            return _sure(engine.resume(job.id, owner), "It goes on")
        case "skip":
            if not engine.skip(job.id, wanted.picture, owner):
                raise InvalidRequest("This picture is drawn already.", "It is among the results; delete it there.")
            return f"Picture {wanted.picture + 1} is left out"
        case "retry":
            engine.retry(job.id, owner)
            return "It is tried again"
        case "duplicate":
            engine.duplicate(job.id, owner, new_seed=True)
            return "The same once more, with a new seed"
        case "up" | "down":
            engine.move(job.id, before=_before(engine, job.id, wanted.do, owner), owner=owner)
            return "Moved " + wanted.do
        case "away":
            return _sure(engine.put_away(job.id, owner), "Put away")


def _before(engine: Engine, job_id: str, do: Literal["up", "down"], owner: str) -> str | None:
    """The waiting job that comes to stand behind this one when it moves by one place; None at the end of the line."""
    waiting = [job.id for job in engine.jobs(owner) if job.state == "queued"]
    if job_id not in waiting:
        raise NotFound("This job waits no longer.", "Only what waits can be moved.")
    at = waiting.index(job_id)
    others = waiting[:at] + waiting[at + 1 :]
    place = at - 1 if do == "up" else at + 1
    return others[max(place, 0)] if place < len(others) else None


def _stop_sheet(engine: Engine, sheet_id: str, owner: str, *, keep: bool) -> str:
    still_open = {job.id for job in engine.jobs(owner)}
    wanted = [cell.job_id for cell in engine.sheets.get(sheet_id, owner).cells if cell.job_id in still_open]
    # The waiting ones first: else the next one begins while the running one stops.
    for job_id in reversed(wanted):
        engine.cancel(job_id or "", owner=owner, keep=keep)
    return "Stopping"


def _sure(is_done: bool, said: str) -> str:
    if not is_done:
        raise _GONE
    return said
