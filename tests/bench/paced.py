"""An application of the bare framework that draws nothing, to be compared with: one field, and an endpoint that says as much as a picture at a pace.

What a client waits beyond the pace is the framework's, and so is what the page takes to load.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from tests.apart import serve
from ui.api.pace import STEP_PACE_S


async def pace(steps: int, step_s: float) -> AsyncIterator[dict[str, Any]]:
    """The messages of one picture; the last one says how long they took where they were made."""
    begin = told = time.perf_counter()
    yield {"state": "waiting", "position": 1}
    for step in range(1, steps + 1):
        await asyncio.sleep(step_s)
        if (now := time.perf_counter()) >= told + STEP_PACE_S:
            told = now
            yield {"state": "drawing", "picture": 0, "step": step, "steps": steps}
    yield {"state": "done", "seconds": time.perf_counter() - begin}


def main() -> None:
    with gr.Blocks(analytics_enabled=False) as app:
        gr.Textbox(label="Prompt")
        gr.api(pace, api_name="pace", concurrency_limit=None)
    serve(app)


if __name__ == "__main__":
    main()
