"""Who is asking: the visitor's cookie, or for a client without cookies its session."""

from __future__ import annotations

import re

import gradio as gr

COOKIE = "easel_visitor"
_SHAPE = re.compile(r"[A-Za-z0-9_-]{32,64}")


def is_visitor_id(text: str) -> bool:
    return _SHAPE.fullmatch(text) is not None


def visitor(name: str) -> str:
    """The owner behind a visitor's cookie."""
    return f"visitor-{name}"


def owner_of(request: gr.Request) -> str:
    """The cookie is unguessable and HttpOnly; a session's hash is as secret and lives as long as the client does."""
    name = request.cookies.get(COOKIE, "")
    return visitor(name) if is_visitor_id(name) else f"client-{request.session_hash}"
