"""Pictures that lead a drawing, between the page and the contract: ControlNet units and reference pictures.

Whatever a browser sends is for the contract to judge; here only the page's own names are put into the contract's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine import REFERENCE_WEIGHT, Engine, NotFound, Recipe
from ui.links import source_view


def control_uses(units: list[Any]) -> list[Any]:
    """Units that are on and have a picture, as a request takes them."""
    return [
        {
            "image": image.get("hash"), "preprocessor": unit.get("preprocessor"), "settings": unit.get("settings") or {}, "control": unit.get("control") or None,
            "weight": unit.get("weight"), "start": unit.get("start"), "end": unit.get("end"), "fit": unit.get("fit"),
        }
        for unit, image in _active(units)
    ]  # fmt: skip


def reference_uses(references: list[Any]) -> list[Any]:
    """Reference pictures that are on, as a request takes them."""
    return [
        {
            "image": image.get("hash"), "weight": one.get("weight"), "start": one.get("start"), "end": one.get("end"), "adapter": one.get("adapter") or None,
            "style_only": one.get("isStyle") is True,
        }
        for one, image in _active(references)
    ]  # fmt: skip


def unit_views(engine: Engine, recipe: Recipe, owner: str) -> list[dict[str, Any]]:
    """The units of a picture's recipe. One whose picture is gone keeps its settings."""
    return [
        {
            "key": f"unit{number}", "image": _view(engine, use.image, owner), "map": None, "preprocessor": use.preprocessor, "settings": dict(use.settings),
            "control": use.control, "weight": use.weight, "start": use.start, "end": use.end, "fit": use.fit, "isOff": False,
        }
        for number, use in enumerate(recipe.controls or ())
    ]  # fmt: skip


def reference_views(engine: Engine, recipe: Recipe, owner: str) -> list[dict[str, Any]]:
    return [
        {
            "key": f"reference{number}", "image": _view(engine, use.image, owner), "weight": use.weight, "start": use.start, "end": use.end,
            "adapter": use.adapter, "isStyle": use.style_only, "isOff": False,
        }
        for number, use in enumerate(recipe.references or ())
    ]  # fmt: skip


def picture_views(engine: Engine, recipe: Recipe, owner: str) -> list[dict[str, Any]]:
    """What an edit looked at beside its source, as far as it is here."""
    return [view for digest in recipe.pictures or () if (view := _view(engine, digest, owner)) is not None]


def new_unit(image: dict[str, Any]) -> dict[str, Any]:
    """A unit that nothing has been chosen for yet; the page finds the control model that goes with its map."""
    return {
        "key": f"unit-{image['hash'][:8]}", "image": image, "map": None, "preprocessor": "canny", "settings": {}, "control": "", "weight": 1, "start": 0,
        "end": 1, "fit": "crop", "isOff": False,
    }  # fmt: skip


def new_reference(image: dict[str, Any], number: int) -> dict[str, Any]:
    """A reference at its usual weight; without an adapter's name the model's own is taken."""
    return {
        "key": f"reference-{number}-{image['hash'][:8]}", "image": image, "weight": REFERENCE_WEIGHT, "start": 0, "end": 1, "adapter": "",
        "isStyle": False, "isOff": False,
    }  # fmt: skip


def _active(cards: list[Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    return [(one, image) for one in cards if isinstance(one, Mapping) and not one.get("isOff") and isinstance(image := one.get("image"), Mapping)]


def _view(engine: Engine, digest: str, owner: str) -> dict[str, Any] | None:
    try:
        return source_view(engine.input_image(digest, owner), engine.secret)
    except NotFound:
        return None
