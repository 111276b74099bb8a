"""What the stage's buttons ask for: reuse, send to a tab, compare, go on, one cell again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gradio as gr

from engine import REFERENCES_MAX, Engine, EngineError, LoraUse, ModelNotFound, NotFound, Picture, Recipe
from ui.canvas.compare import captions, pair
from ui.canvas.refusal import refusal_view
from ui.controls.header import MODES
from ui.controls.model import offered, size_labels
from ui.filling import BEGINS, ends
from ui.forms import FIELDS, from_recipe, tab_of
from ui.guides import new_reference, new_unit, picture_views, reference_views, unit_views
from ui.links import source_url, source_view
from ui.owner import owner_of
from ui.run import HIDDEN, Page, Update

# What a result brings along into another tab; the tab's own controls and the size of an enlargement stay out of it.
_CARRIED = (
    "model",
    "prompt",
    "negative_prompt",
    "guidance_scale",
    "steps",
    "scheduler",
    "schedule",
    "guidance_style",
    "guidance_rescale",
    "guidance_start",
    "guidance_end",
)


def wire_sending(page: Page) -> None:
    engine, form = page.engine, page.form
    targets = [page.mode, form.source, page.editor, *form.racks, *form.inputs()]

    def reuse(event: gr.EventData, request: gr.Request) -> Update:
        """Everything that makes this picture or job again: tab, source, mask and form."""
        owner, data = owner_of(request), event_data(event)
        try:
            is_job = bool(data.get("job"))
            recipe = engine.job(str(data["job"]), owner).recipe if is_job else engine.picture(str(data.get("id")), owner).recipe
            fields = {**fields_of(engine, recipe), "pictures": picture_views(engine, recipe, owner)}
            if not is_job and (remark := engine.weights_remark(recipe)):
                gr.Info(remark)
            return (*_pictures(engine, recipe, owner), *racks(recipe, owner), *fields_update(fields))
        except EngineError as error:
            gr.Warning(f"{error.message} {error.hint}")
            return tuple(gr.skip() for _ in targets)

    def send(model: Any, references: Any, event: gr.EventData, request: gr.Request) -> Update:
        """The picture becomes the source of a tab, and its words come along; or one more reference picture, and nothing else changes."""
        owner, to = owner_of(request), str(event_data(event).get("to"))
        try:
            picture = engine.picture(str(event_data(event).get("id")), owner)
            if to == "reference":
                return tuple(one_more(references, picture, owner) if target is form.references else gr.skip() for target in targets)
            values = fields_of(engine, picture.recipe)
            rack, _, references = racks(picture.recipe, owner)
            # Another model has other sizes: then the size comes along too.
            sizes = ("size", "width", "height") if values.get("model", model) != model else ()
            if to not in MODES or to == "txt2img":
                words = {name: values[name] for name in (*_CARRIED, *sizes, "seed", "is_seed_kept") if name in values}
                return "txt2img", gr.skip(), gr.skip(), rack, gr.skip(), references, *fields_update(words)
            source = source_view(engine.input_from_picture(picture.id, owner), engine.secret)
        except EngineError as error:
            gr.Warning(f"{error.message} {error.hint}")
            return tuple(gr.skip() for _ in targets)
        carried = {name: values[name] for name in _CARRIED if name in values} | {"is_seed_kept": False, "sheet": ""}
        if picture.recipe.mode == "txt2img" or sizes:
            carried |= {name: values[name] for name in ("size", "width", "height")}
        if to == "controlnet":
            # Its structure leads the next one: a unit like the last one, with this picture in it.
            return to, gr.skip(), gr.skip(), rack, [new_unit(source)], references, *fields_update(carried)
        return to, source, gr.skip(), rack, gr.skip(), references, *fields_update(carried)

    def one_more(references: Any, picture: Picture, owner: str) -> list[Any]:
        here = references if isinstance(references, list) else []
        # A card that waits for its picture is the place for it.
        here = [one for one in here if isinstance(one, dict) and one.get("image")]
        if len(here) >= REFERENCES_MAX:
            gr.Warning(f"There are {REFERENCES_MAX} reference pictures already. Remove one of them first.")
            return here
        return [*here, new_reference(source_view(engine.input_from_picture(picture.id, owner), engine.secret), len(here))]

    def racks(recipe: Recipe, owner: str) -> tuple[Any, Any, Any]:
        return rack_views(recipe.loras or ()), unit_views(engine, recipe, owner), reference_views(engine, recipe, owner)

    def compare(event: gr.EventData, request: gr.Request) -> Any:
        try:
            data, owner = event_data(event), owner_of(request)
            first, second = (engine.picture(str(data.get(name)), owner) for name in ("first", "second"))
            return pair(first, second, is_dark=data.get("is_dark") is True), captions(first, second)
        except NotFound as error:
            gr.Warning(error.message)
            return gr.skip(), gr.skip()

    def go_on(event: gr.EventData, request: gr.Request) -> Any:
        owner = owner_of(request)
        try:
            engine.duplicate(str(event_data(event).get("job")), owner)
        except EngineError as error:
            return refusal_view(error)
        page.bell.ring(owner)
        return gr.skip()

    def retry(event: gr.EventData, request: gr.Request) -> Any:
        owner, data = owner_of(request), event_data(event)
        number = data.get("number")
        try:
            engine.sheets.retry_cell(str(data.get("sheet")), number if isinstance(number, int) else -1, owner)
        except NotFound as error:
            return refusal_view(error)
        except EngineError as error:
            # The cell keeps its reason; the others stay on the stage.
            gr.Warning(f"{error.message} {error.hint}")
        page.bell.ring(owner)
        return gr.skip()

    # Through the queue: without it the framework drops a warning.
    ends(page.stage.select(reuse, None, targets, js=BEGINS, **HIDDEN))
    ends(page.stage.upload(send, [form.fields["model"], form.references], targets, js=BEGINS, **HIDDEN))
    page.stage.apply(compare, None, [page.wipe.slider, page.wipe.said], **HIDDEN)
    page.stage.play(go_on, None, form.refusal, **HIDDEN)
    page.stage.retry(retry, None, form.refusal, **HIDDEN)
    ends(page.line.select(reuse, None, targets, js=BEGINS, **HIDDEN))


def rack_views(uses: Iterable[LoraUse]) -> list[dict[str, Any]]:
    return [{"name": use.name, "weight": use.weight, "is_muted": False, **({} if use.blocks is None else {"blocks": use.blocks})} for use in uses]


def fields_of(engine: Engine, recipe: Recipe) -> dict[str, Any]:
    """The form that makes this picture again, with the menus of its model; where that is gone, the chosen model stays."""
    try:
        card = engine.model(recipe.model)
    except ModelNotFound as error:
        gr.Info(f"{error.message} The model that is chosen draws instead.")
        values = from_recipe(recipe, [])
        return {name: value for name, value in values.items() if name != "model"}
    return offered(card, from_recipe(recipe, size_labels(card)))


def event_data(event: gr.EventData) -> dict[str, Any]:
    data: Any = event._data  # pyright: ignore[reportPrivateUsage]
    return data if isinstance(data, dict) else {}


def fields_update(values: dict[str, Any]) -> Update:
    return tuple(values.get(name, gr.skip()) for name in FIELDS)


def _pictures(engine: Engine, recipe: Recipe, owner: str) -> Update:
    """Tab, source and mask editor as this recipe had them."""
    if recipe.source is None:
        return tab_of(recipe), gr.skip(), gr.skip()
    source = source_view(engine.input_image(recipe.source, owner), engine.secret)
    if recipe.mode != "inpaint":
        return tab_of(recipe), source, gr.skip()
    painted = {
        "source": recipe.source,
        "base": recipe.mask,
        "base_url": None if recipe.mask is None else source_url(recipe.mask, engine.secret),
        "strokes": [],
        "expand": list(recipe.expand),
    }
    return recipe.mode, source, painted
