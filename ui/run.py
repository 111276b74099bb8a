"""What Generate does, and what the form remembers. What becomes of a job the page hears from `ui.following`."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from fastapi.concurrency import run_in_threadpool

from engine import Engine, EngineError
from ui.bell import Bell
from ui.canvas.compare import Wipe
from ui.canvas.rack import card_views
from ui.canvas.references import adapter_views
from ui.canvas.refusal import refusal_view
from ui.canvas.units import control_views, method_views
from ui.controls.form import Form, fits
from ui.controls.model import model_or_default, offered, size_labels, usable_models, usual, vae_choices
from ui.filling import BEGINS, ends
from ui.forms import FIELDS, nearest_size
from ui.launch import Asked, beside, launch, price
from ui.messages import price_words
from ui.owner import owner_of

HIDDEN: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
RUN: dict[str, Any] = {"concurrency_limit": None, **HIDDEN}

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
    line: gr.HTML
    wipe: Wipe
    bell: Bell
    browser_key: str

    @property
    def asked(self) -> list[gr.components.Component]:
        """Components in the order of `read`."""
        return [self.mode, self.form.source, self.editor, *self.form.racks, *self.form.inputs()]


def wire_run(page: Page) -> None:
    """Generate, Stop, the price on the button, the memory of the form, and its undo."""
    engine, form = page.engine, page.form
    inputs = form.inputs()
    saved = gr.BrowserState(None, storage_key="easel_form", secret=page.browser_key)

    async def generate(request: gr.Request, *values: Any) -> Any:
        return await run(owner_of(request), Asked.read(values))

    async def draw_example(request: gr.Request, *values: Any) -> Any:
        """An example's own picture, once: the form keeps no seed for the next one."""
        asked = Asked.read(values)
        return await run(owner_of(request), replace(asked, form={**asked.form, "is_seed_kept": True}))

    async def draw_beside(request: gr.Request, *values: Any) -> Any:
        asked = Asked.read(values)
        return await run(owner_of(request), beside(asked, model_or_default(engine, asked.form.get("model")).family))

    async def run(owner: str, asked: Asked) -> Any:
        """Only a refusal is shown from here, and the stage stays as it is: an accepted job shows itself."""
        try:
            # A large mask takes a moment to draw: not on the thread that everybody's page hangs on.
            await run_in_threadpool(launch, engine, asked, owner)
        except EngineError as error:
            return refusal_view(error)
        page.bell.ring(owner)
        return None

    def show_price(request: gr.Request, mode: Any, source: Any, units: Any, references: Any, *values: Any) -> Any:
        try:
            found = price(engine, Asked.read((mode, source, None, None, units, references, *values)), owner_of(request))
            words = price_words(found.seconds, found.position)
        except EngineError:
            words = ""
        # A place in line goes below: beside Stop there is no room for one long line.
        gap = "\n" if "line" in words else "  "
        return gr.update(value=f"Generate{gap}{words}".strip())

    def begin(values: dict[str, Any] | None) -> Update:
        """What is wrong about the form that the browser has filled by itself, and what lies in the folders now: one answer, behind what is in sight.

        Anything odd in the browser's store gives way to what a newcomer sees. Upscalers, VAEs, adapters and control models that were dropped
        into their folders are there at the next load, without a restart.
        """
        values = values if isinstance(values, dict) else {}
        card, models = model_or_default(engine, values.get("model")), usable_models(engine)
        sound = {name: value for name, value in values.items() if name in FIELDS and fits(name, value, size_labels(card))}
        if (gone := values.get("model")) and gone != card.name:
            gr.Info(f"The model {str(gone)[:64]} is not here any more: {card.title} draws now.")
            sound |= usual(card)
        sound = offered(card, {**usual(card), **sound, "model": card.name})
        upscalers = [(one.title, one.name) for one in engine.upscalers()]
        sound["upscaler"] = gr.update(choices=upscalers, **({"value": sound["upscaler"]} if "upscaler" in sound else {}))
        sound["vae"] = {**sound["vae"], "choices": vae_choices(engine)}
        odd = {name: form.fields[name].value for name in values if name in FIELDS and name not in sound}  # type: ignore[attr-defined]
        # What is there already is not set again: somebody may be typing by now.
        answer = {name: value for name, value in (odd | sound).items() if name not in values or value != values[name]}
        units = gr.update(controls=control_views(engine.controls.cards(), models), methods=method_views(engine.controls.preprocessors()))
        racks = gr.update(cards=card_views(engine.loras(), models)), units, gr.update(adapters=adapter_views(engine, models))
        return *(answer.get(name, gr.skip()) for name in FIELDS), *racks

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
        return "txt2img", str(data.get("prompt", ""))[:200], str(data.get("seed", "")), False, ""

    def suggest_size(source: Any, mode: str, model: Any) -> Any:
        """The size whose shape is the source's, where a source is brought to size."""
        is_picture = isinstance(source, dict) and source.get("kind") == "picture"
        sizes = size_labels(model_or_default(engine, model))
        return nearest_size(source["width"], source["height"], sizes) if is_picture and mode == "img2img" else gr.skip()

    gr.on([form.go.click], generate, page.asked, form.refusal, api_name="generate", trigger_mode="multiple", **RUN)
    form.beside.click(draw_beside, page.asked, form.refusal, **RUN)
    form.halt.click(None, None, None, js="() => { window.dispatchEvent(new CustomEvent('easel:stop')); }", **HIDDEN)
    targets = [page.mode, *(form.fields[name] for name in ("prompt", "seed", "is_seed_kept", "sheet"))]
    taken = page.stage.submit(take_example, None, targets, queue=False, js=BEGINS, **HIDDEN)
    ends(taken)
    taken.then(draw_example, page.asked, form.refusal, **RUN)
    form.source.upload(suggest_size, [form.source, page.mode, form.fields["model"]], form.fields["size"], queue=False, **HIDDEN)

    priced = ("model", "how", "guidance_style", "guidance_start", "guidance_end", "score_guidance", "size", "count", "steps", "scheduler", "guidance_scale", "width", "height", "strength", "inpaint_strength", "upscale_strength",
              "factor", "overlap", "sheet", "vary_x_values", "vary_y_values", "vary_x", "vary_y")  # fmt: skip
    leading = (page.mode, form.source, form.units, form.references)
    changes = [c.change for c in (*leading, *(form.fields[name] for name in priced))]  # type: ignore[attr-defined]
    # Asked for once when all has settled: a form that is filled changes in thirty places.
    gr.on(changes, None, None, None, js="() => { window.dispatchEvent(new Event('easel:price')); }", **HIDDEN)
    page.line.apply(show_price, [*leading, *inputs], form.go, queue=False, trigger_mode="always_last", **HIDDEN)

    # Kept in the browser by the browser: no request for a keystroke.
    names = ", ".join(FIELDS)
    whole = [page.mode, form.source, *form.racks, *inputs]
    others = "mode, source, rack, units, references"
    keep = f"({others}, {names}) => {{ window.easelForm?.keep([{others}, {names}]); return {{{names}}}; }}"
    gr.on([c.change for c in whole], None, whole, saved, js=keep, **HIDDEN)  # type: ignore[attr-defined]
    for button, by in ((form.undo, -1), (form.redo, 1)):
        ends(button.click(None, None, whole, js=f"() => window.easelForm.go({by})", **HIDDEN))
    _wire_frame(form)
    recall = _RECALL.replace("__NAMES__", json.dumps(FIELDS))
    page.blocks.load(None, [saved, *inputs], [page.mode, form.source, *form.racks, *inputs], js=recall, **HIDDEN)
    ends(form.fields["model"].select(use_model, None, inputs, queue=False, js=BEGINS, **HIDDEN))  # type: ignore[attr-defined]
    prompt = form.fields["prompt"]
    form.rack.select(None, prompt, prompt, js=_ADD_TRIGGER, **HIDDEN)
    loaded = page.blocks.load(begin, saved, [*inputs, *form.racks], queue=False, **HIDDEN)
    # Whatever was typed before this was overwritten: from here on the page can be used.
    loaded.then(None, whole, None, js=_READY, **HIDDEN)


# Tab, source, racks and form as the browser has kept them, before the server is asked; from here on it keeps every change.
_RECALL = """(saved, ...now) => {
  window.easelRestored = true;
  const kept = (name, fallback) => { try { return JSON.parse(localStorage.getItem(name)) ?? fallback; } catch { return fallback; } };
  const isAlike = (one, other) => other == null || typeof one === typeof other;
  const form = __NAMES__.map((name, at) => (saved && saved[name] != null && isAlike(saved[name], now[at]) ? saved[name] : undefined));
  return [localStorage.getItem("easel_mode") || "txt2img", kept("easel_source", null), kept("easel_loras", []), kept("easel_units", []), kept("easel_references", []), ...form];
}"""
# What stands there before a hand has touched it is where Undo ends.
_READY = """(...now) => {
  if (!window.easelTouched) window.easelForm?.forget();
  window.easelForm?.keep(now);
  document.body.dataset.ready = 'yes';
  window.dispatchEvent(new Event('easel:ready'));
}"""
_ADD_TRIGGER = """(prompt) => {
  const words = window.easelTrigger || "";
  return !words || (prompt || "").includes(words) ? prompt : [prompt, words].filter(Boolean).join(", ");
}"""


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
