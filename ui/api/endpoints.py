"""One endpoint for each mode. They differ in their parameters only, and those are read from the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import gradio as gr
from fastapi.concurrency import run_in_threadpool

from engine import (
    Cancelled,
    Edit,
    Engine,
    EngineError,
    Failed,
    Finished,
    ImageToImage,
    Inpaint,
    InvalidRequest,
    Job,
    Loading,
    Paused,
    Picture,
    Progress,
    Queued,
    Request,
    TextToImage,
    Upscale,
    parse_request,
)
from ui.api.pace import STEP_PACE_S, paced
from ui.api.parameters import names_of, sign_as
from ui.api.pictures import bring
from ui.links import picture_view
from ui.messages import sentence
from ui.owner import owner_of

_PLACE_S, _PLACE_MAX_S = 0.03, 1.0
_CONTROLNET = ("controls",)
_MODES: tuple[tuple[type[Request], str], ...] = (
    (TextToImage, "Draw pictures from words."),
    (ImageToImage, "Draw pictures from words and a picture."),
    (Edit, "Change a picture as the prompt says, with a model that edits."),
    (Inpaint, "Draw a part of a picture anew, or grow its frame; mask, expand_* or both say where."),
    (Upscale, "Make a picture larger, with new detail where strength is above 0."),
)
_STREAMS = (
    'Streams {"state": "waiting" | "loading" | "drawing" | "paused" | "done" | "stopped", …}, of the steps at most four a second;'
    " the last one has the pictures, and notes on what was changed."
)
Message = dict[str, Any]
Endpoint = Callable[..., AsyncIterator[Message]]


def add_api(engine: Engine) -> None:
    """Register the endpoints inside the current Blocks."""
    for kind, does in _MODES:
        mode = str(kind.model_fields["mode"].default)
        endpoint = _endpoint(engine, mode, names_of(kind))
        sign_as(endpoint, kind, name=mode, text=f"{does} {_STREAMS}")
        gr.api(endpoint, api_name=mode, concurrency_limit=None)
    # The same as txt2img, with units that have to be there.
    endpoint = _endpoint(engine, "txt2img", names_of(TextToImage, _CONTROLNET), needs=_CONTROLNET)
    text = f"Draw pictures from words that follow at least one control unit. {_STREAMS}"
    sign_as(endpoint, TextToImage, name="controlnet", text=text, needs=_CONTROLNET)
    gr.api(endpoint, api_name="controlnet", concurrency_limit=None)


def _endpoint(engine: Engine, mode: str, names: tuple[str, ...], *, needs: tuple[str, ...] = ()) -> Endpoint:
    async def endpoint(*given: Any) -> AsyncIterator[Message]:
        *values, request = given
        owner = owner_of(request)
        asked = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        try:
            if any(not asked.get(name) for name in needs):
                raise InvalidRequest("There is no control unit.", "Give at least one, or use /txt2img.", "controls")
            # In a thread: a large picture takes a second to read, and everybody else's previews pass through this loop.
            job, notes = await run_in_threadpool(_submit, engine, {"mode": mode, **asked}, owner)
            async for message in _follow(engine, job.id, owner, notes):
                yield message
        except EngineError as error:
            raise gr.Error(sentence(error), print_exception=False) from error

    return endpoint


def _submit(engine: Engine, asked: dict[str, Any], owner: str) -> tuple[Job, list[str]]:
    values, notes = bring(engine, asked, owner)
    return engine.submit(parse_request(values), owner), notes


async def _follow(engine: Engine, job_id: str, owner: str, notes: list[str]) -> AsyncIterator[Message]:
    """Messages until the ending; raises what the job failed with. Closing it ends the watching, never the job."""
    with engine.watch(job_id, owner=owner, sees_previews=False) as watch:
        async with aclosing(paced(watch, STEP_PACE_S)) as events:
            async for event in events:
                match event:
                    case Queued(position=position, eta_s=eta_s):
                        yield {"state": "waiting", "job": job_id, "position": position, "eta_s": eta_s}
                        # Far back, places change faster than anybody reads: a hundred who wait must not keep the server from drawing.
                        await asyncio.sleep(min(_PLACE_S * (position - 1), _PLACE_MAX_S))
                    case Loading(what=what):
                        yield {"state": "loading", "job": job_id, "what": what}
                    case Progress():
                        yield {"state": "drawing", "job": job_id, **_progress(event)}
                    case Paused(step=step):
                        yield {"state": "paused", "job": job_id, "step": step}
                    case Finished(pictures=pictures, note=note):
                        yield {"state": "done", "job": job_id, "pictures": _views(engine, pictures), "notes": [*notes, note] if note else notes}
                        return
                    case Cancelled(pictures=pictures):
                        yield {"state": "stopped", "job": job_id, "pictures": _views(engine, pictures), "notes": notes}
                        return
                    case Failed(error=error):
                        raise error
                    case _:
                        pass


def _progress(event: Progress) -> Message:
    return {"picture": event.picture, "tile": event.tile, "tiles": event.tiles, "step": event.step, "steps": event.steps}


def _views(engine: Engine, pictures: tuple[Picture, ...]) -> list[Message]:
    return [{**picture_view(picture, engine.secret), "recipe": picture.recipe.to_plain()} for picture in pictures]
