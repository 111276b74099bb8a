"""The Text tab: the form, and what its buttons do. It watches a job; it never owns one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from engine import Cancelled, Drawn, Engine, EngineError, Failed, Finished, NotFound, parse_request
from ui.controls.text_form import TextForm, named
from ui.forms import FIELDS, from_recipe, to_request_values
from ui.links import picture_view
from ui.messages import seconds
from ui.owner import owner_of
from ui.stream import done_view, failed_view, stage_view

_POLL_S = 0.05
# Eight frames a second are smooth for a forming picture and pass through a slow line.
_FRAME_S = 0.125
_HIDDEN: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

Update = tuple[Any, ...]


def wire_txt2img(page: gr.Blocks, engine: Engine, form: TextForm, *, stage: gr.HTML, strip: gr.HTML, secret: str) -> None:
    """Connect the form to the engine. Outputs of a run: stage, tray, Generate, Stop, the job's id."""
    inputs = form.inputs()
    job_id = gr.State(None)
    saved = gr.BrowserState(None, storage_key="easel_form", secret=secret)
    outputs = [stage, strip, form.go, form.halt, job_id]
    run: dict[str, Any] = {"concurrency_limit": None, **_HIDDEN}

    async def generate(request: gr.Request, *values: Any) -> AsyncIterator[Update]:
        try:
            job = engine.submit(parse_request(to_request_values(named(values))), owner_of(request))
        except EngineError as error:
            yield failed_view(error), gr.skip(), *_buttons(False), None
            return
        async for update in follow(job.id, job.recipe.prompt, owner_of(request)):
            yield update

    async def resume(request: gr.Request) -> AsyncIterator[Update]:
        """After a load: go on watching what runs, else show the newest picture, else the examples."""
        owner = owner_of(request)
        open_jobs = engine.jobs(owner)
        if open_jobs:
            async for update in follow(open_jobs[0].id, open_jobs[0].recipe.prompt, owner):
                yield update
            return
        newest = engine.history(owner, 1)
        view = done_view(newest[0], engine.secret) if newest else {"kind": "empty", "is_loaded": True}
        yield view, tray(owner), *_buttons(False), None

    async def follow(job: str, prompt: str, owner: str) -> AsyncIterator[Update]:
        """Updates until the job's ending. Leaving early ends the watching, never the job."""
        yield {"kind": "waiting", "job": job, "prompt": prompt, "text": "Taking your words"}, tray(owner), *_buttons(True), job
        with engine.watch(job, owner=owner) as watch:
            sent = 0.0
            while True:
                event = watch.take()
                if event is None:
                    await asyncio.sleep(_POLL_S)
                    continue
                is_over = isinstance(event, (Finished, Cancelled, Failed))
                if not is_over and (pause := _FRAME_S - (time.monotonic() - sent)) > 0:
                    await asyncio.sleep(pause)
                sent = time.monotonic()
                view = stage_view(event, engine.secret, prompt)
                has_new = is_over or isinstance(event, Drawn)
                yield view or gr.skip(), tray(owner) if has_new else gr.skip(), *_buttons(not is_over), None if is_over else job
                if is_over:
                    return

    def tray(owner: str) -> list[dict[str, Any]]:
        return [picture_view(picture, engine.secret) for picture in engine.history(owner)]

    def halt(job: str | None, request: gr.Request) -> None:
        owner = owner_of(request)
        open_jobs = [one.id for one in engine.jobs(owner)]
        wanted = job if job in open_jobs else next(iter(open_jobs), None)
        if wanted is not None:
            engine.cancel(wanted, owner=owner)

    def price(*values: Any) -> Any:
        try:
            estimate = engine.estimate_s(parse_request(to_request_values({**named(values), "prompt": "x"})), "")
        except EngineError:
            estimate = None
        return gr.update(value=f"Generate  {seconds(estimate)}" if estimate else "Generate")

    def reuse(event: gr.EventData, request: gr.Request) -> Update:
        try:
            recipe = engine.picture(str(event._data["id"]), owner_of(request)).recipe  # type: ignore[index]
        except (NotFound, KeyError, TypeError):
            return tuple(gr.skip() for _ in FIELDS)
        values = from_recipe(recipe, form.sizes)
        return tuple(values[name] for name in FIELDS)

    def take_example(event: gr.EventData) -> Update:
        data: dict[str, Any] = event._data  # type: ignore[assignment]
        return str(data.get("prompt", ""))[:200], str(data.get("seed", "")), True

    def restore(values: dict[str, Any] | None) -> Update:
        """Saved form values; anything odd in the browser's store is left out rather than shown."""
        values = values if isinstance(values, dict) else {}
        return tuple(values[name] if _fits(name, values.get(name), form.sizes) else gr.skip() for name in FIELDS)

    go_event = gr.on([form.go.click], generate, inputs, outputs, api_name="generate", **run)
    form.halt.click(halt, job_id, None, queue=False, **_HIDDEN)
    example = stage.submit(take_example, None, [form.fields[name] for name in ("prompt", "seed", "is_seed_kept")], queue=False, **_HIDDEN)
    example.then(generate, inputs, outputs, **run)
    for source in (stage, strip):
        source.select(reuse, None, inputs, queue=False, **_HIDDEN)
    priced = [form.fields[name] for name in ("size", "count", "steps", "scheduler", "guidance_scale", "width", "height")]
    gr.on([c.change for c in priced], price, inputs, form.go, queue=False, trigger_mode="always_last", **_HIDDEN)  # type: ignore[attr-defined]
    go_event.then(price, inputs, form.go, queue=False, **_HIDDEN)
    # Kept in the browser by the browser: no request for a keystroke.
    names = ", ".join(FIELDS)
    gr.on([c.change for c in inputs], None, inputs, saved, js=f"({names}) => ({{{names}}})", **_HIDDEN)  # type: ignore[attr-defined]
    page.load(restore, saved, inputs, queue=False, **_HIDDEN).then(resume, None, outputs, **run).then(price, inputs, form.go, queue=False, **_HIDDEN)


def _buttons(is_running: bool) -> tuple[Any, Any]:
    """One place, two buttons: Generate while idle, Stop while running."""
    return gr.update(visible=not is_running), gr.update(visible=is_running)


def _fits(name: str, value: object, sizes: list[str]) -> bool:
    if value is None:
        return False
    match name:
        case "prompt" | "negative_prompt" | "scheduler" | "seed" | "width" | "height":
            return isinstance(value, str) and len(value) <= 20_000
        case "size":
            return value in sizes
        case "is_seed_kept":
            return isinstance(value, bool)
        case "count":
            return value in (1, 2, 4, 8)
        case _:
            return isinstance(value, (int, float))
