"""An application of the bare framework that draws nothing, to be compared with: one field, and an endpoint that says as much as a picture at a pace.

What a client waits beyond the pace is the framework's, and so is what the page takes to load.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import Any

from ui.api.pace import STEP_PACE_S


@contextmanager
def paced_app() -> Generator[str, None, None]:
    """Its address. In a process of its own, as the studio is."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.bench.paced"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert found
            yield found[0]
        finally:
            process.terminate()


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
    import gradio as gr

    with gr.Blocks(analytics_enabled=False) as app:
        gr.Textbox(label="Prompt")
        gr.api(pace, api_name="pace", concurrency_limit=None)
    _, url, _ = app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    print(url, flush=True)
    app.block_thread()


if __name__ == "__main__":
    main()
