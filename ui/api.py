"""The endpoint `/txt2img`: the page's bounds, the page's words, progress as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from engine import Cancelled, Engine, EngineError, Failed, Finished, Loading, Progress, Queued, parse_request
from ui.links import picture_view
from ui.messages import sentence
from ui.owner import owner_of

_POLL_S = 0.05


def add_api(engine: Engine) -> None:
    """Register the endpoint inside the current Blocks."""

    async def txt2img(
        prompt: str,
        negative_prompt: str = "",
        steps: float | None = None,
        guidance_scale: float | None = None,
        scheduler: str | None = None,
        width: float | None = None,
        height: float | None = None,
        seed: float | None = None,
        count: float = 1,
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> AsyncIterator[dict[str, Any]]:
        """Draw pictures from words. Streams {"state": "waiting" | "loading" | "drawing" | "done", …}; the last one has the pictures."""
        given = {
            "prompt": prompt, "negative_prompt": negative_prompt, "steps": steps, "guidance_scale": guidance_scale, "scheduler": scheduler,
            "width": width, "height": height, "seed": seed, "count": count,
        }  # fmt: skip
        owner = owner_of(request)
        try:
            job = engine.submit(parse_request({name: value for name, value in given.items() if value is not None}), owner)
        except EngineError as error:
            raise gr.Error(sentence(error), print_exception=False) from error
        with engine.watch(job.id, owner=owner) as watch:
            while True:
                event = watch.take()
                match event:
                    case None:
                        await asyncio.sleep(_POLL_S)
                    case Queued(position=position, eta_s=eta_s):
                        yield {"state": "waiting", "job": job.id, "position": position, "eta_s": eta_s}
                    case Loading(what=what):
                        yield {"state": "loading", "job": job.id, "what": what}
                    case Progress():
                        yield {"state": "drawing", "job": job.id, "picture": event.picture, "step": event.step, "steps": event.steps}
                    case Finished(pictures=pictures) | Cancelled(pictures=pictures):
                        views = [{**picture_view(p, engine.secret), "recipe": p.recipe.to_plain()} for p in pictures]
                        yield {"state": "done" if isinstance(event, Finished) else "stopped", "job": job.id, "pictures": views}
                        return
                    case Failed(error=error):
                        raise gr.Error(sentence(error), print_exception=False)
                    case _:
                        pass

    gr.api(txt2img, api_name="txt2img", concurrency_limit=None)
