"""Who is asking: the visitor's cookie, or for a client without cookies its session."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import gradio as gr
from fastapi import HTTPException, Request
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response

from engine import Engine

COOKIE = "easel_visitor"
_YEAR_S = 365 * 24 * 3600
_PREFIX = "visitor-"
# Where a request's scope names the person who has signed in.
PERSON = "easel.person"
_SHAPE = re.compile(r"[A-Za-z0-9_-]{32,64}")


def is_visitor_id(text: str) -> bool:
    return _SHAPE.fullmatch(text) is not None


def visitor(name: str) -> str:
    """The owner behind a visitor's cookie."""
    return _PREFIX + name


def visitor_name(owner: str) -> str:
    """The cookie of an owner that has one: the inverse of `visitor`."""
    return owner.removeprefix(_PREFIX)


def is_operator(engine: Engine, scope: Mapping[str, Any]) -> bool:
    """Whether a request comes from somebody who may manage models: with a login those that the settings name, else whoever is at this machine."""
    if engine.people is not None:
        return scope.get(PERSON) in engine.settings.operator_names
    return not engine.settings.public


def owner_of(request: gr.Request) -> str:
    """The cookie is unguessable and HttpOnly; a session's hash is as secret and lives as long as the client does."""
    name = request.cookies.get(COOKIE, "")
    return visitor(name) if is_visitor_id(name) else f"client-{request.session_hash}"


def page_owner(request: Request) -> str:
    """The visitor whose page sent this. Another site's form can send a body with our cookie, but not a header of its own."""
    if "x-easel" not in request.headers:
        raise HTTPException(403, "This request did not come from the studio's page.")
    return cookie_owner(request)


def cookie_owner(request: Request) -> str:
    """The visitor whose cookie came along."""
    name = request.cookies.get(COOKIE, "")
    if not is_visitor_id(name):
        raise HTTPException(403, "Open the studio's page first: it gives you a visitor's cookie.")
    return visitor(name)


def is_https(request: StarletteRequest) -> bool:
    return request.headers.get("x-forwarded-proto", request.url.scheme).startswith("https")


def set_visitor_cookie(answer: Response, name: str, request: StarletteRequest) -> None:
    answer.headers.append("set-cookie", visitor_cookie(name, is_https=is_https(request)))


def visitor_cookie(name: str, *, is_https: bool) -> str:
    """The header that gives a browser a visitor's name."""
    # Hosted Spaces show the page inside a frame of another site: there only None with Secure is sent back.
    site = "SameSite=None; Secure; Partitioned" if is_https else "SameSite=Lax"
    return f"{COOKIE}={name}; Path=/; Max-Age={_YEAR_S}; HttpOnly; {site}"
