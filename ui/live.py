"""Plain HTTP that answers while somebody writes: counters, remarks, styles before they are applied, what can be picked, the walk down the noise.

Beside the framework's queue: a keystroke waits for nobody, and an answer that comes too late is dropped by the page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from engine import (
    SCHEDULER_FACTS,
    Counted,
    Engine,
    EngineError,
    InvalidRequest,
    ModelCard,
    ModelNotFound,
    Style,
    apply_style,
    parse_request,
    plan_edit,
)
from ui.forms import request_mode, size_values

_BODY_MAX = 512 * 1024
_CONTROLS = ("prompt", "negative_prompt")
Loose = Mapping[str, Any]


def add_live(app: FastAPI, engine: Engine) -> None:
    def answer(path: str, make: Callable[[Engine, Loose], dict[str, Any]]) -> None:
        @app.post(path)
        async def reply(request: Request) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
            given = await read_question(request)
            try:
                return JSONResponse(await run_in_threadpool(make, engine, given))
            except EngineError as error:
                return JSONResponse(error.to_plain(), 422)

    answer("/live/words", words_view)
    answer("/live/style", style_view)
    answer("/live/styles", styles_view)
    answer("/live/offers", offers_view)
    answer("/live/plan", plan_view)


def words_view(engine: Engine, given: Loose) -> dict[str, Any]:
    """How the encoders read the words of a control, what is odd about them, and whether the model knows them."""
    text, control = _text(given, "text"), _one_of(given, "control", _CONTROLS)
    model = model_of(engine, given).name
    counts = engine.words(text, model)
    remarks = [{"text": one.message, "is_refusal": one.is_refusal} for one in engine.remarks(text, control, model)]
    # What a picture should not show may well be words that the model never saw.
    new = next((count for count in counts if count.is_mostly_unknown), None) if control == "prompt" else None
    unknown = [word for word in new.unknown if not word.startswith("<")] if new else []
    return {"counts": counts_view(counts), "remarks": remarks, "is_new": new is not None, "unknown": unknown[:6]}


def counts_view(counts: tuple[Counted, ...]) -> list[dict[str, Any]]:
    """One for each encoder; encoders that read alike are told once."""
    views = [{"last": one.last, "room": one.room, "chunks": one.chunks} for one in counts]
    if all(view == views[0] for view in views):
        return [{**view, "encoder": ""} for view in views[:1]]
    return [{**view, "encoder": f"encoder {number}"} for number, view in enumerate(views, start=1)]


def styles_view(engine: Engine, given: Loose) -> dict[str, Any]:
    """Names and notes by group: those that put words against something, or those that change what is drawn."""
    control = _one_of(given, "control", _CONTROLS)
    groups: dict[str, list[dict[str, str]]] = {}
    for style in engine.styles():
        if is_against(style) == (control == "negative_prompt"):
            groups.setdefault(style.group, []).append({"name": style.name, "note": style.note})
    return {"groups": [{"group": group, "styles": styles} for group, styles in groups.items()]}


def is_against(style: Style) -> bool:
    """Whether it only says what not to draw."""
    return style.prompt == "{prompt}"


def style_view(engine: Engine, given: Loose) -> dict[str, Any]:
    """Both fields with the style, each as [before, one's own words, behind]: what would be added, to the letter."""
    style = engine.style(_text(given, "style"))
    own = {control: _text(given, control) for control in _CONTROLS}
    styled = dict(zip(_CONTROLS, apply_style(own["prompt"], own["negative_prompt"], style), strict=True))
    return {"name": style.name, "note": style.note} | {control: _parts(styled[control], own[control].strip()) for control in _CONTROLS}


def _parts(styled: str, own: str) -> list[str]:
    before, found, behind = styled.partition(own) if own else (styled, "", "")
    return [before, found, behind]


def offers_view(engine: Engine, given: Loose) -> dict[str, Any]:
    """What `<` and `__` can name. What cannot be used says why."""
    model = model_of(engine, given)
    embeddings = [
        {"name": one.name, "note": f"{one.vectors} {'vector' if one.vectors == 1 else 'vectors'}", "refusal": one.misfit(model)}
        for one in engine.embeddings()
    ]
    loras = [{"name": one.name, "note": one.trigger or one.title, "refusal": one.misfit(model)} for one in engine.loras()]
    return {"embeddings": embeddings, "loras": loras, "wildcards": [_list(engine, name) for name in engine.wildcards()]}


def _list(engine: Engine, name: str) -> dict[str, Any]:
    try:
        lines = engine.wildcard(name)
    except EngineError as error:
        return {"name": name, "note": "", "refusal": error.message}
    return {"name": name, "note": ", ".join(line[:40] for line in lines[:4]) + (" …" if len(lines) > 4 else ""), "refusal": None}


def plan_view(engine: Engine, given: Loose) -> dict[str, Any]:
    """The noise before each step, the step that a source starts at, advice, and what would be refused."""
    scheduler, schedule = _one_of(given, "scheduler", tuple(SCHEDULER_FACTS)), given.get("schedule") or None
    # Checked as a request is, so that a number that cannot be is told in the same words.
    mode = request_mode(str(given.get("mode")), given)
    values = {"prompt": "x", "scheduler": scheduler, "schedule": schedule, "steps": given.get("steps"), "guidance_scale": given.get("guidance")}
    values |= size_values(given, mode)
    model = model_of(engine, given)
    try:
        request = parse_request({name: value for name, value in values.items() if value is not None})
    except InvalidRequest as error:
        # Half a number is no failure while somebody types: the control says what is wrong with it.
        return {"steps": 0, "start": 0, "shares": [], "refusal": f"{error.message} {error.hint}", "field": error.field, "advice": []}
    steps = request.steps or model.default_steps
    guidance = model.default_guidance if request.guidance_scale is None else request.guidance_scale
    try:
        strength = min(max(float(given.get("strength", 1)), 0.0), 1.0)
    except (TypeError, ValueError):
        strength = 1.0
    start = 0 if mode in ("txt2img", "edit") else steps - (max(1, int(steps * strength)) if strength else 0)
    width, height = _own_size(model, mode, given.get("source"))
    size = (request.width or width, request.height or height)
    view: dict[str, Any] = {"steps": steps, "start": start, "shares": [], "refusal": None, "field": None}
    try:
        view["shares"] = list(engine.plan(scheduler, request.schedule, steps, model.name, size))
    except EngineError as error:
        view["refusal"] = f"{error.message} {error.hint}"
    loras = given.get("loras")
    used = [str(name) for name in loras] if isinstance(loras, list) else []
    view["advice"] = list(engine.advice(scheduler, request.schedule, steps, guidance, model.name, loras=used))
    return view


def _own_size(model: ModelCard, mode: str, source: object) -> tuple[int, int]:
    """What is drawn at once where nobody chose a size, in pixels. `source` is the size of the source, of whose shape an edit is."""
    match source:
        case [int(width), int(height)] if mode == "edit":
            # What cannot be edited says so where it is asked for.
            with suppress(InvalidRequest, ArithmeticError):
                return plan_edit(model, [(width, height)])
        case _:
            pass
    return model.default_size


def model_of(engine: Engine, given: Loose) -> ModelCard:
    """The model that a question is about; the default where it names none, or one that has gone."""
    try:
        return engine.model(_text(given, "model"))
    except ModelNotFound:
        return engine.model()


async def read_question(request: Request) -> Loose:
    """What the page asks, as a table. Raises 403, 413 or 422."""
    # Another site's form can send a body, but not a header of its own.
    if "x-easel" not in request.headers:
        raise HTTPException(403, "This request did not come from the studio's page.")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _BODY_MAX:
            raise HTTPException(413, "These words are too long.")
    try:
        given: Any = json.loads(bytes(body) or b"{}")
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise HTTPException(422, "This is no question that the page asks.")
    return given


def _text(given: Loose, name: str) -> str:
    value = given.get(name, "")
    return value if isinstance(value, str) else ""


def _one_of(given: Loose, name: str, known: tuple[Any, ...]) -> Any:
    if (value := given.get(name)) not in known:
        raise HTTPException(422, f"There is no such {name}.")
    return value
