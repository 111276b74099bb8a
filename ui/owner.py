"""Who is asking: the visitor's cookie, or for a client without cookies its session."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import gradio as gr

from engine import Engine

COOKIE = "easel_visitor"
# Where a request's scope names the person who has signed in.
PERSON = "easel.person"
_SHAPE = re.compile(r"[A-Za-z0-9_-]{32,64}")


def is_visitor_id(text: str) -> bool:
    return _SHAPE.fullmatch(text) is not None


def visitor(name: str) -> str:
    """The owner behind a visitor's cookie."""
    return f"visitor-{name}"


def is_operator(engine: Engine, scope: Mapping[str, Any]) -> bool:
    """Whether a request comes from somebody who may manage models: with a login those that the settings name, else whoever is at this machine."""
    if engine.people is not None:
        return scope.get(PERSON) in engine.settings.operator_names
    return not engine.settings.public


def owner_of(request: gr.Request) -> str:
    """The cookie is unguessable and HttpOnly; a session's hash is as secret and lives as long as the client does."""
    name = request.cookies.get(COOKIE, "")
    return visitor(name) if is_visitor_id(name) else f"client-{request.session_hash}"
