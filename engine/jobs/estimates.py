"""How long a recipe takes: work units from the recipe, seconds from what has been drawn on this device before."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete, insert, select

from engine.contract.guidance import SCORE_CALLS
from engine.contract.recipe import Recipe
from engine.contract.schedulers import model_calls
from engine.contract.tiles import plan_tiles
from engine.jobs.fit import Fit, Spread, Traits
from engine.store import Store
from engine.store import timings_table as timings

log = logging.getLogger("easel.jobs")
# Timings that a fit is made of. Older ones tell of another driver, another load, another summer.
_KEPT = 128

# What a reference picture adds to a model call, as a share of it (the starter on a CPU, 256 × 256; less on larger models).
_REFERENCE_COST = 0.06
# A control is the denoiser's encoder once more and reads its map: measured on the starter, and near it for Stable Diffusion 1.
CONTROL_COST = 0.5


def work(recipe: Recipe, source: tuple[int, int] | None = None) -> float:
    """Megapixel-steps of the whole batch, each as often as its guidance runs the model in it.

    `source` is the size of the source picture: an enlargement draws as many tiles as that asks for.
    """
    megapixels = recipe.width * recipe.height / 1e6
    calls = recipe.guidance.count_passes(model_calls(recipe.scheduler, recipe.steps_run), SCORE_CALLS if recipe.score_guidance else 0.0)
    calls *= 1 + _REFERENCE_COST * sum(use.end - use.start for use in recipe.references or ()) + control_cost(recipe)
    if recipe.mode == "upscale":
        width, height = ((edge * (recipe.factor or 2)) for edge in source or (recipe.width, recipe.height))
        tiles = len(plan_tiles(max(width, recipe.width), max(height, recipe.height), recipe.width, recipe.height, recipe.overlap or 0))
        # Encoding, decoding and the enlargement itself weigh about two steps a tile.
        return megapixels * (calls + 2) * tiles * recipe.count
    return megapixels * calls * recipe.count


def control_cost(recipe: Recipe) -> float:
    """What the control units add to a model call, as a share of it, on the mean over the steps."""
    return CONTROL_COST * sum(use.end - use.start for use in recipe.controls or () if not use.is_idle)


def traits(recipe: Recipe, source: tuple[int, int] | None = None) -> Traits:
    """What of one picture of a recipe decides how long it takes."""
    plain = recipe.to_plain()
    many = {name: len(value) for name in ("loras", "controls", "references", "pictures") if isinstance(value := plain.get(name), (list, tuple))}
    kind = [recipe.mode, recipe.scheduler, *(str(plain[name]) for name in ("guidance_style", "score_guidance", "upscaler") if name in plain)]
    kind += [f"{count} {name}" for name, count in many.items()]
    return Traits(" · ".join(kind), recipe.width * recipe.height / 1e6, work(recipe, source) / recipe.count)


class Estimates:
    """One fit for each model and device, made of the newest timings in the database: a restart knows what was known."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], list[tuple[Traits, float]]] = {}
        self._fits: dict[tuple[str, str], Fit | None] = {}
        # The device that drew last, by model.
        self._last: dict[str, str] = {}
        self._unsaved: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def learn(self, recipe: Recipe, device: str, seconds: float, source: tuple[int, int] | None = None) -> None:
        """One picture of this recipe took `seconds`; to be written down by `save`."""
        key, found = (recipe.model_hash, device), traits(recipe, source)
        row = {"model_hash": key[0], "device": key[1], "traits": asdict(found), "seconds": seconds, "created_at": time.time()}
        with self._lock:
            known = self._timings(key)
            known.append((found, seconds))
            del known[:-_KEPT]
            self._fits.pop(key, None)
            self._last[recipe.model_hash] = device
            self._unsaved.append(row)

    def save(self) -> None:
        """Write down what was learned. Never raises: where that cannot be done, the next time does it with its own."""
        with self._lock:
            rows, self._unsaved = self._unsaved, []
        if not rows:
            return
        try:
            with self._store.begin() as db:
                db.execute(insert(timings), rows)
                for model, device in {(row["model_hash"], row["device"]) for row in rows}:
                    ours = (timings.c.model_hash == model, timings.c.device == device)
                    oldest = select(timings.c.id).where(*ours).order_by(timings.c.id.desc()).offset(_KEPT).limit(1).scalar_subquery()
                    db.execute(delete(timings).where(*ours, timings.c.id <= oldest))
        except Exception as error:
            # Whatever it is, it costs an estimate, not a job.
            log.warning("how long pictures took could not be written down (%s); the next picture tries again", type(error).__name__)
            with self._lock:
                self._unsaved = [*rows, *self._unsaved][-_KEPT:]

    def spread(self, recipe: Recipe, device: str, source: tuple[int, int] | None = None) -> Spread | None:
        """Seconds for the whole batch; None until one picture of this model has been drawn on this device.

        While the device is not known yet, "", it is taken for the one that drew last.
        """
        key = (recipe.model_hash, device or self._last_device(recipe.model_hash))
        with self._lock:
            if key not in self._fits:
                known = self._timings(key)
                self._fits[key] = Fit.of(known) if known else None
            fit = self._fits[key]
        return None if fit is None else fit.spread(traits(recipe, source)).times(recipe.count)

    def _last_device(self, model_hash: str) -> str:
        if model_hash not in self._last:
            query = select(timings.c.device).where(timings.c.model_hash == model_hash).order_by(timings.c.id.desc()).limit(1)
            with self._store.connect() as db:
                self._last.setdefault(model_hash, db.execute(query).scalar() or "")
        return self._last[model_hash]

    def _timings(self, key: tuple[str, str]) -> list[tuple[Traits, float]]:
        if key not in self._known:
            query = select(timings.c.traits, timings.c.seconds).where(timings.c.model_hash == key[0], timings.c.device == key[1])
            with self._store.connect() as db:
                rows = db.execute(query.order_by(timings.c.id.desc()).limit(_KEPT)).all()
            self._known[key] = [(Traits(**row.traits), row.seconds) for row in reversed(rows)]
        return self._known[key]
