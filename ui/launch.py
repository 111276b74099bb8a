"""What Generate asks of the engine: one job, or a sheet of many. Everything here may raise `EngineError`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine import Axis, Brought, Engine, InvalidRequest, Job, Sheet, parse_axis, parse_request, parse_strokes, styles_of
from ui.forms import EXPAND, FIELDS, request_mode, to_request_values
from ui.guides import control_uses, reference_uses

# Whatever a browser sends: nothing is believed before it is checked.
Loose = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """The page's values: tab, source picture or folder, mask and growth, adapters, pictures that lead, and the form by name."""

    tab: str
    source: Loose
    painted: Loose
    rack: list[Any]
    units: list[Any]
    references: list[Any]
    form: dict[str, Any]

    @staticmethod
    def read(values: tuple[Any, ...]) -> Asked:
        """From `Page.asked`, in its order."""
        tab, source, painted, *lists = values[:6]
        return Asked(
            tab if isinstance(tab, str) and tab else "txt2img",
            source if isinstance(source, Mapping) else {},
            painted if isinstance(painted, Mapping) else {},
            *(one if isinstance(one, list) else [] for one in lists),
            form=dict(zip(FIELDS, values[6:], strict=True)),
        )

    @property
    def mode(self) -> str:
        """The mode of the request that this tab makes."""
        return request_mode(self.tab, self.form)


def beside(asked: Asked, family: str) -> Asked:
    """The same on one seed by several guidance styles: by plain CFG and the chosen one, or by all where CFG itself is chosen."""
    chosen = asked.form.get("guidance_style")
    styles = styles_of(family) if chosen in (None, "", "cfg") else ("cfg", str(chosen))
    grid = {"sheet": "grid", "vary_x": "guidance_style", "vary_x_values": ", ".join(styles), "vary_y": None, "vary_y_values": "", "count": 1}
    return replace(asked, form={**asked.form, **grid})


def launch(engine: Engine, asked: Asked, owner: str) -> Job | Sheet:
    """Accept what the page asks for."""
    values = to_request_values(asked.form, asked.mode)
    values["loras"] = _loras(asked.rack)
    values.update(_guides(asked))
    if asked.mode != "txt2img" and asked.source.get("kind") == "folder":
        if asked.mode == "inpaint":
            raise InvalidRequest("A folder cannot be inpainted.", "Choose one picture, or go to the Image or Upscale tab.", "source")
        return engine.sheets.folder(_folder(asked.source), values, owner)
    values.update(_pictures(engine, asked, owner))
    match asked.form.get("sheet"):
        case "grid":
            return engine.sheets.grid(values, _axes(asked.form), owner)
        case "dataset":
            return engine.sheets.dataset(values, owner)
        case _:
            return engine.submit(parse_request(values), owner)


@dataclass(frozen=True)
class Price:
    """Seconds of drawing, all cells together, None while nothing is known; and which place in line is the next free one."""

    seconds: float | None
    position: int


def price(engine: Engine, asked: Asked, owner: str) -> Price:
    values = to_request_values({**asked.form, "prompt": "x"}, asked.mode)
    cells = 1
    if asked.form.get("sheet") == "grid":
        for axis in _axes(asked.form):
            cells *= len(axis.values)
    if asked.mode != "txt2img":
        items = asked.source.get("items") or [{"image": asked.source}]
        cells *= len(items)
        values["source"] = next((image.get("hash") for one in items if (image := one.get("image"))), None)
    if asked.mode == "inpaint":
        values["expand_left"] = 8
    estimate = engine.estimate(parse_request(values), owner)
    return Price(None if estimate.seconds is None else estimate.seconds * cells, estimate.position)


def _pictures(engine: Engine, asked: Asked, owner: str) -> dict[str, Any]:
    """Source, mask and growth of the tab, the strokes made into a mask of the source's size."""
    if asked.mode == "txt2img":
        return {}
    source = asked.source.get("hash")
    values: dict[str, Any] = {} if source is None else {"source": source}
    # Strokes that were painted over another picture do not belong here.
    if asked.mode != "inpaint" or source is None or asked.painted.get("source") != source:
        return values
    growth = asked.painted.get("expand") or [0, 0, 0, 0]
    values.update(zip(EXPAND, growth, strict=False))
    strokes, base = parse_strokes(asked.painted.get("strokes") or []), asked.painted.get("base")
    if strokes:
        try:
            values["mask"] = engine.add_mask(source, strokes, owner, base=base).hash
        except InvalidRequest:
            # All of it wiped away again: where the frame grows there is still something to paint.
            if not any(growth):
                raise
    elif base:
        values["mask"] = base
    return values


def _guides(asked: Asked) -> dict[str, Any]:
    """Units where the tab shows them; reference pictures everywhere but in an enlargement."""
    values: dict[str, Any] = {}
    if asked.tab in ("controlnet", "img2img", "inpaint"):
        values["controls"] = control_uses(asked.units)
        if asked.tab == "controlnet" and not values["controls"]:
            raise InvalidRequest("No unit has a picture.", "Choose a picture whose structure should lead, or go to the Text tab.", "controls")
    if asked.tab != "upscale":
        values["references"] = reference_uses(asked.references)
    return values


def _loras(rack: list[Any]) -> list[Any]:
    """What the rack holds and has not muted; whatever else a browser sends is for the contract to refuse."""
    return [
        {name: value for name, value in one.items() if name != "is_muted"} if isinstance(one, Mapping) else one
        for one in rack
        if not (isinstance(one, Mapping) and one.get("is_muted"))
    ]


def _folder(source: Loose) -> list[Brought]:
    try:
        return [Brought.model_validate(one) for one in source.get("items") or []]
    except ValueError as error:
        raise InvalidRequest("This folder cannot be read any more.", "Choose the zip again.", "source") from error


def _axes(form: Mapping[str, Any]) -> list[Axis]:
    """The axes that have a control. Each refusal names the one control at fault."""
    axes: list[Axis] = []
    for name, label in (("vary_x", "Across"), ("vary_y", "Down")):
        control, values = form.get(name), str(form.get(f"{name}_values") or "").strip()
        if not control and values:
            raise InvalidRequest(f"{label} has values and no control.", f"Choose what {label} varies, or empty its values.", name)
        if not control:
            continue
        try:
            axis = parse_axis(str(control), values)
        except InvalidRequest as error:
            raise InvalidRequest(f"{label}: {error.message}", error.hint, name if values else f"{name}_values") from error
        if axis.field in (one.field for one in axes):
            raise InvalidRequest("A grid needs two different controls.", "Choose another control for Down, or none.", name)
        axes.append(axis)
    if not axes:
        raise InvalidRequest("The grid has no control to vary.", "Choose one for Across.", "vary_x")
    return axes
