"""How far behind somebody reads. What the framework holds for a slow line would grow with every preview that nobody waits for any more."""

from __future__ import annotations

import gradio as gr

# One that is being sent and one behind it.
_WAITING_MAX = 2


def is_behind(blocks: gr.Blocks, session: str | None) -> bool:
    """Whether as many updates wait for a page as may. The newest preview is worth more than an old one in a row."""
    waiting = blocks._queue.pending_messages_per_session.get(session or "")  # pyright: ignore[reportPrivateUsage]
    return waiting is not None and waiting.qsize() >= _WAITING_MAX
