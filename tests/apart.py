"""Small applications of the framework, run in a process of their own, as the studio is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import gradio as gr


@contextmanager
def running_app(module: str) -> Generator[str, None, None]:
    """The address of what `module`, as a program, serves."""
    command = [sys.executable, "-W", "ignore", "-m", module]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert found
            yield found[0]
        finally:
            process.terminate()


def serve(app: gr.Blocks, *, at_once: int = 40) -> None:
    """Until somebody ends the process, so many requests side by side."""
    _, url, _ = app.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, max_threads=at_once)
    print(url, flush=True)
    app.block_thread()
