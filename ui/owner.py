"""Who is asking: the visitor's cookie, or for a client without cookies its session."""

from __future__ import annotations

import re

import gradio as gr

COOKIE = "easel_visitor"
_SHAPE = re.compile(r"[A-Za-z0-9_-]{32,64}")


def is_visitor_id(text: str) -> bool:
    return _SHAPE.fullmatch(text) is not None


def owner_of(request: gr.Request) -> str:
    """The cookie is unguessable and HttpOnly; a session's hash is as secret and lives as long as the client does."""
    visitor = request.cookies.get(COOKIE, "")
    return f"visitor-{visitor}" if is_visitor_id(visitor) else f"client-{request.session_hash}"
