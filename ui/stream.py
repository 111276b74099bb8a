"""Events of a job to what the stage shows, in one match statement."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from engine import Cancelled, Drawn, EngineError, Event, Failed, Finished, Loading, Paused, Picture, Progress, Queued, Recipe, Skipped
from ui.links import picture_view
from ui.messages import place_in_line, seconds


def stage_view(event: Event, secret: bytes, recipe: Recipe) -> dict[str, Any] | None:
    """The stage's value for an event; None where the event changes nothing there."""
    common = {"job": event.job_id, "prompt": recipe.prompt, "mode": recipe.mode}
    match event:
        case Queued(position=position, eta_s=eta_s):
            return {**common, "kind": "waiting", "text": place_in_line(position, eta_s)}
        case Loading(what=what):
            return {**common, "kind": "loading", "text": what}
        case Progress():
            return {**common, "kind": "drawing", **_progress(event)}
        case Drawn() | Skipped():
            return None
        case Paused(step=step):
            return {**common, "kind": "paused", "text": paused_words(step), "hint": "It goes on from there, to the same picture, when you resume it."}
        case Finished(pictures=pictures, seconds=took, note=note):
            return {**common, "kind": "done", "text": _made(len(pictures), took) + (f". {note}" if note else ""), **_shown(pictures, secret)}
        case Cancelled(step=step, pictures=pictures):
            text = f"Stopped after step {step}" if step else "Stopped before it began"
            # What is stopped inside an enlargement has kept its tiles.
            return {**common, "kind": "stopped", "text": text, "can_go_on": recipe.mode == "upscale", **_shown(pictures, secret)}
        case Failed(error=error):
            return {**common, **failed_view(error)}


def failed_view(error: EngineError) -> dict[str, Any]:
    return {"kind": "failed", "text": error.message, "hint": error.hint, "field": error.field}


def done_view(pictures: Sequence[Picture], secret: bytes) -> dict[str, Any]:
    """Pictures of one job from the history (at least one), shown as they were when they were finished."""
    last = pictures[-1]
    return {"kind": "done", "job": last.job_id, "prompt": last.recipe.prompt, "text": "", **_shown(pictures, secret)}


def paused_words(step: int) -> str:
    return f"Paused after step {step}" if step else "Paused before it began"


def progress_words(event: Progress) -> str:
    """ "Picture 2 of 4 · step 7 of 20 · ≈ 3 s left"."""
    words = f"Step {event.step} of {event.steps}"
    if event.tiles > 1:
        words = f"Tile {event.tile + 1} of {event.tiles} · {words.lower()}"
    elif event.count > 1:
        words = f"Picture {event.picture + 1} of {event.count} · {words.lower()}"
    if event.left_s is not None:
        words += f" · {seconds(event.left_s)} left"
    return f"{words} · {event.note}" if event.note else words


def _progress(event: Progress) -> dict[str, Any]:
    preview = None if event.preview is None else "data:image/jpeg;base64," + base64.b64encode(event.preview).decode()
    share = (event.tile + event.step / event.steps) / event.tiles
    whole = (event.picture + share) / event.count
    return {"text": progress_words(event), "step": event.step, "steps": event.steps, "share": share, "whole": whole, "preview": preview}


def _shown(pictures: Sequence[Picture], secret: bytes) -> dict[str, Any]:
    """The last picture, and where there are more, all of them to choose from."""
    views = [picture_view(picture, secret) for picture in pictures]
    return {"picture": views[-1], **({"pictures": views} if len(views) > 1 else {})} if views else {}


def _made(count: int, took: float) -> str:
    # One picture says its own time, beside its seed.
    return "Done" if count == 1 else f"{count} pictures in {took:.1f} s"
