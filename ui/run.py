"""What Generate and Stop do. The page watches jobs and sheets; it never owns one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from engine import Cancelled, Drawn, Engine, EngineError, Failed, Finished, Job, NotFound, Sheet
from ui.canvas.rack import card_views
from ui.canvas.references import adapter_views
from ui.canvas.units import control_views, method_views
from ui.controls.form import Form, fits
from ui.controls.model import model_or_default, offered, size_labels, usable_models, usual
from ui.forms import FIELDS, nearest_size
from ui.launch import Asked, beside, launch, price
from ui.links import picture_view
from ui.messages import price_words
from ui.owner import owner_of
from ui.sheets import follow_sheet, is_open, sheet_view
from ui.stream import done_view, failed_view, stage_view

_POLL_S = 0.05
# Eight frames a second are smooth for a forming picture and pass through a slow line.
_FRAME_S = 0.125
HIDDEN: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
RUN: dict[str, Any] = {"concurrency_limit": None, **HIDDEN}
_SHEET = "sheet:"

Update = tuple[Any, ...]


@dataclass(frozen=True)
class Page:
    """The parts of the page that runs read and write."""

    blocks: gr.Blocks
    engine: Engine
    form: Form
    mode: gr.HTML
    editor: gr.HTML
    stage: gr.HTML
    strip: gr.HTML
    wipe: gr.ImageSlider
    # What is being watched: a job's id, or "sheet:" and a sheet's.
    watched: gr.State
    browser_key: str

    @property
    def asked(self) -> list[gr.components.Component]:
        """Components in the order of `read`."""
        return [self.mode, self.form.source, self.editor, *self.form.racks, *self.form.inputs()]

    @property
    def outputs(self) -> list[Any]:
        """Outputs of a run: stage, tray, Generate, Stop, what is watched."""
        return [self.stage, self.strip, self.form.go, self.form.halt, self.watched]


class Follower:
    """Updates of `Page.outputs` for one visitor. Leaving early ends the watching, never the job."""

    def __init__(self, engine: Engine, owner: str) -> None:
        self._engine, self._owner = engine, owner

    def tray(self) -> list[dict[str, Any]]:
        return [picture_view(picture, self._engine.secret) for picture in self._engine.history(self._owner)]

    async def follow(self, what: Job | Sheet) -> AsyncIterator[Update]:
        updates = self._job(what) if isinstance(what, Job) else self._sheet(what)
        async for update in updates:
            yield update

    async def _job(self, job: Job) -> AsyncIterator[Update]:
        """Updates until the job's ending."""
        recipe = job.recipe
        first = {"kind": "waiting", "job": job.id, "prompt": recipe.prompt, "text": "Taking your words"}
        yield first, self.tray(), *buttons(True), job.id
        with self._engine.watch(job.id, owner=self._owner) as watch:
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
                view = stage_view(event, self._engine.secret, recipe)
                has_new = is_over or isinstance(event, Drawn)
                yield view or gr.skip(), self.tray() if has_new else gr.skip(), *buttons(not is_over), None if is_over else job.id
                if is_over:
                    return

    async def _sheet(self, sheet: Sheet) -> AsyncIterator[Update]:
        token, drawn = _SHEET + sheet.id, -1
        async for view in follow_sheet(self._engine, sheet, self._owner):
            now = sum("picture" in cell for cell in view["cells"])
            yield view, self.tray() if now != drawn else gr.skip(), *buttons(view["is_busy"]), token if view["is_busy"] else None
            drawn = now

    async def resume(self) -> AsyncIterator[Update]:
        """After a load: go on watching what runs, else show what came last, else the examples."""
        engine, owner = self._engine, self._owner
        sheet = engine.newest_sheet(owner)
        cells = engine.sheet_cells(sheet) if sheet else []
        open_jobs = engine.jobs(owner)
        newest = engine.history(owner, 1)
        if sheet and is_open(cells):
            async for update in self._sheet(sheet):
                yield update
        elif open_jobs:
            async for update in self._job(open_jobs[0]):
                yield update
        elif sheet and newest and any(cell.job_id == newest[0].job_id for cell in sheet.cells):
            yield sheet_view(sheet, cells, engine.secret), self.tray(), *buttons(False), None
        else:
            view = done_view(newest[0], engine.secret) if newest else {"kind": "empty", "is_loaded": True}
            yield view, self.tray(), *buttons(False), None


def wire_run(page: Page) -> None:
    """Generate, Stop, the price on the button, the memory of the form, and its undo."""
    engine, form = page.engine, page.form
    inputs = form.inputs()
    saved = gr.BrowserState(None, storage_key="easel_form", secret=page.browser_key)

    async def generate(request: gr.Request, *values: Any) -> AsyncIterator[Update]:
        async for update in run(owner_of(request), Asked.read(values)):
            yield update

    async def draw_beside(request: gr.Request, *values: Any) -> AsyncIterator[Update]:
        async for update in run(owner_of(request), asked_beside(values)):
            yield update

    def asked_beside(values: tuple[Any, ...]) -> Asked:
        asked = Asked.read(values)
        return beside(asked, model_or_default(engine, asked.form.get("model")).family)

    async def run(owner: str, asked: Asked) -> AsyncIterator[Update]:
        try:
            # A large mask takes a moment to draw: not on the thread that everybody's page hangs on.
            accepted = await asyncio.to_thread(launch, engine, asked, owner)
        except EngineError as error:
            yield failed_view(error), gr.skip(), *buttons(False), None
            return
        async for update in Follower(engine, owner).follow(accepted):
            yield update

    async def resume(request: gr.Request) -> AsyncIterator[Update]:
        async for update in Follower(engine, owner_of(request)).resume():
            yield update

    def halt(watched: str | None, request: gr.Request) -> None:
        owner = owner_of(request)
        open_jobs = [one.id for one in engine.jobs(owner)]
        wanted = [watched] if watched and watched in open_jobs else open_jobs[:1]
        if watched and watched.startswith(_SHEET):
            with contextlib.suppress(NotFound):
                cells = engine.sheet(watched.removeprefix(_SHEET), owner).cells
                wanted = [cell.job_id for cell in cells if cell.job_id and cell.job_id in open_jobs]
        # The waiting ones first: else the next one begins while the running one stops.
        for job_id in reversed(wanted):
            engine.cancel(job_id, owner=owner)

    def show_price(request: gr.Request, mode: Any, source: Any, units: Any, references: Any, *values: Any) -> Any:
        try:
            found = price(engine, Asked.read((mode, source, None, None, units, references, *values)), owner_of(request))
            words = price_words(found.seconds, found.position)
        except EngineError:
            words = ""
        return gr.update(value=f"Generate  {words}".strip())

    def restore(values: dict[str, Any] | None) -> Update:
        """Saved form values; anything odd in the browser's store is left out rather than shown."""
        values = values if isinstance(values, dict) else {}
        card = model_or_default(engine, values.get("model"))
        sound = {name: value for name, value in values.items() if name in FIELDS and fits(name, value, size_labels(card))}
        if (gone := values.get("model")) and gone != card.name:
            gr.Info(f"The model {str(gone)[:64]} is not here any more: {card.title} draws now.")
            sound |= usual(card)
        sound = offered(card, {**usual(card), **sound, "model": card.name})
        return tuple(sound.get(name, gr.skip()) for name in FIELDS)

    def use_model(event: gr.EventData) -> Update:
        """The controls as the chosen model likes them; the words stay."""
        data: dict[str, Any] = event._data if isinstance(event._data, dict) else {}  # pyright: ignore[reportPrivateUsage]
        try:
            card = engine.model(str(data.get("name")))
        except EngineError as error:
            gr.Warning(f"{error.message} {error.hint}")
            return tuple(gr.skip() for _ in FIELDS)
        return tuple(offered(card, usual(card)).get(name, gr.skip()) for name in FIELDS)

    def take_example(event: gr.EventData) -> Update:
        data: dict[str, Any] = event._data  # type: ignore[assignment]
        return "txt2img", str(data.get("prompt", ""))[:200], str(data.get("seed", "")), True, ""

    def suggest_size(source: Any, mode: str, model: Any) -> Any:
        """The size whose shape is the source's, where a source is brought to size."""
        is_picture = isinstance(source, dict) and source.get("kind") == "picture"
        sizes = size_labels(model_or_default(engine, model))
        return nearest_size(source["width"], source["height"], sizes) if is_picture and mode == "img2img" else gr.skip()

    def find_files() -> Update:
        """Upscalers, adapters and control models that were dropped into their folders are there at the next load, without a restart."""
        upscalers = gr.update(choices=[(one.title, one.name) for one in engine.upscalers()])
        models = usable_models(engine)
        units = gr.update(controls=control_views(engine.controls(), models), methods=method_views(engine.preprocessors()))
        return upscalers, gr.update(cards=card_views(engine.loras(), models)), units, gr.update(adapters=adapter_views(engine))

    go = gr.on([form.go.click], generate, page.asked, page.outputs, api_name="generate", **RUN)
    form.beside.click(draw_beside, page.asked, page.outputs, **RUN)
    form.halt.click(halt, page.watched, None, queue=False, **HIDDEN)
    targets = [page.mode, *(form.fields[name] for name in ("prompt", "seed", "is_seed_kept", "sheet"))]
    page.stage.submit(take_example, None, targets, queue=False, **HIDDEN).then(generate, page.asked, page.outputs, **RUN)
    form.source.upload(suggest_size, [form.source, page.mode, form.fields["model"]], form.fields["size"], queue=False, **HIDDEN)

    priced = ("model", "guidance_style", "guidance_start", "guidance_end", "score_guidance", "size", "count", "steps", "scheduler", "guidance_scale", "width", "height", "strength", "inpaint_strength", "upscale_strength",
              "factor", "overlap", "sheet", "vary_x_values", "vary_y_values", "vary_x", "vary_y")  # fmt: skip
    leading = (page.mode, form.source, form.units, form.references)
    pricing = ([*leading, *inputs], form.go)
    changes = [c.change for c in (*leading, *(form.fields[name] for name in priced))]  # type: ignore[attr-defined]
    gr.on(changes, show_price, *pricing, queue=False, trigger_mode="always_last", **HIDDEN)
    go.then(show_price, *pricing, queue=False, **HIDDEN)

    # Kept in the browser by the browser: no request for a keystroke.
    names = ", ".join(FIELDS)
    whole = [page.mode, form.source, *form.racks, *inputs]
    others = "mode, source, rack, units, references"
    keep = f"({others}, {names}) => {{ window.easelForm?.keep([{others}, {names}]); return {{{names}}}; }}"
    gr.on([c.change for c in whole], None, whole, saved, js=keep, **HIDDEN)  # type: ignore[attr-defined]
    for button, by in ((form.undo, -1), (form.redo, 1)):
        button.click(None, None, whole, js=f"() => window.easelForm.go({by})", **HIDDEN)
    _wire_frame(form)
    page.blocks.load(None, None, [page.mode, form.source, *form.racks], js=_RECALL, **HIDDEN)
    form.fields["model"].select(use_model, None, inputs, queue=False, **HIDDEN)  # type: ignore[attr-defined]
    prompt = form.fields["prompt"]
    form.rack.select(None, prompt, prompt, js=_ADD_TRIGGER, **HIDDEN)
    page.blocks.load(find_files, None, [form.fields["upscaler"], *form.racks], queue=False, **HIDDEN)
    loaded = page.blocks.load(restore, saved, inputs, queue=False, **HIDDEN)
    loaded.then(resume, None, page.outputs, **RUN).then(show_price, *pricing, queue=False, **HIDDEN)


# Tab, source and rack as the browser has kept them; from here on it keeps every change.
_RECALL = """() => {
  window.easelRestored = true;
  const kept = (name, fallback) => { try { return JSON.parse(localStorage.getItem(name)) ?? fallback; } catch { return fallback; } };
  return [localStorage.getItem("easel_mode") || "txt2img", kept("easel_source", null), kept("easel_loras", []), kept("easel_units", []), kept("easel_references", [])];
}"""
_ADD_TRIGGER = """(prompt) => {
  const words = window.easelTrigger || "";
  return !words || (prompt || "").includes(words) ? prompt : [prompt, words].filter(Boolean).join(", ");
}"""


def buttons(is_running: bool) -> tuple[Any, Any]:
    """One place, two buttons: Generate while idle, Stop while running."""
    return gr.update(visible=not is_running), gr.update(visible=is_running)


def _wire_frame(form: Form) -> None:
    """Tell the source how it will be fitted, and the editor how wide the feather is. All in the browser."""
    framing = [form.fields[name] for name in ("size", "width", "height", "fit")]
    tell = """(size, width, height, fit) => {
      const [w, h] = String(size || "1 × 1").split("×").map((one) => Number(one));
      window.dispatchEvent(new CustomEvent("easel:frame", { detail: { width: Number(width) || w, height: Number(height) || h, fit } }));
    }"""
    gr.on([c.change for c in framing], None, framing, None, js=tell, **HIDDEN)  # type: ignore[attr-defined]
    feather = form.fields["feather"]
    soften = "(width) => { window.dispatchEvent(new CustomEvent('easel:feather', { detail: width })); }"
    feather.change(None, feather, None, js=soften, **HIDDEN)  # type: ignore[attr-defined]
