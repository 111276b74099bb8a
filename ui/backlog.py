"""How far behind somebody reads. What the framework holds for a slow line would grow with every preview that nobody waits for any more."""

from __future__ import annotations

import gradio as gr


def is_behind(blocks: gr.Blocks, session: str | None) -> bool:
    """Whether an update still waits for a page to take it. The newest preview is worth more than an old one in a row."""
    waiting = blocks._queue.pending_messages_per_session.get(session or "")  # pyright: ignore[reportPrivateUsage]
    return waiting is not None and not waiting.empty()
