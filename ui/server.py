"""The web server around the page, and the visitor's cookie."""

from __future__ import annotations

import secrets
from http.cookies import SimpleCookie
from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine import Engine, is_loopback
from ui.door import Door
from ui.fetching import add_fetching
from ui.headers import Headers
from ui.live import add_live
from ui.login import Login
from ui.models import add_models
from ui.operations import add_operations
from ui.owner import COOKIE, is_visitor_id
from ui.page import build_page
from ui.routes import add_routes
from ui.shelf import add_shelf
from ui.theme import CSS, KEYS_JS, build_theme

# Each follower of a job holds one of these; the framework's own 40 would make the 41st visitor wait.
_FOLLOWERS_MAX = 300
_YEAR_S = 365 * 24 * 3600


def build_app(engine: Engine) -> FastAPI:
    """The whole web application. The engine is started and closed by whoever calls this."""
    app = FastAPI(title="Easel", docs_url=None, redoc_url=None, openapi_url=None)
    add_routes(app, engine)
    add_live(app, engine)
    add_shelf(app, engine)
    add_fetching(app, engine)
    add_models(app, engine)
    add_operations(app, engine)
    page = build_page(engine)
    page.queue(default_concurrency_limit=None)
    page.max_threads = _FOLLOWERS_MAX
    app = gr.mount_gradio_app(
        app,
        page,
        path="/",
        theme=build_theme(),
        css_paths=list(CSS),
        js=KEYS_JS.read_text(encoding="utf-8"),
        show_error=False,
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        max_file_size="20mb",
        footer_links=[],
    )
    page._queue.max_thread_count = _FOLLOWERS_MAX  # pyright: ignore[reportPrivateUsage]
    # The last one added is met first: headers on everything, then who may come in, then who it is.
    app.add_middleware(VisitorCookie)
    if engine.people is not None:
        app.add_middleware(Login, people=engine.people, secret=engine.secret)
    app.add_middleware(Door, is_local=not engine.settings.public and engine.people is None and is_loopback(engine.settings.host))
    app.add_middleware(Headers, frames=engine.settings.frames)
    return app


class VisitorCookie:
    """Gives each browser an unguessable name. Plain ASGI, because streams must pass through untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        known = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        wants_one = scope["path"] == "/" and not (known and is_visitor_id(known.value))

        async def with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"set-cookie", _cookie(_is_https(scope, headers)).encode())]}
            await send(message)

        await self._app(scope, receive, with_cookie if wants_one else send)


def _cookie(is_https: bool) -> str:
    # Hosted Spaces show the page inside a frame of another site: there only None with Secure is sent back.
    site = "SameSite=None; Secure; Partitioned" if is_https else "SameSite=Lax"
    return f"{COOKIE}={secrets.token_urlsafe(32)}; Path=/; Max-Age={_YEAR_S}; HttpOnly; {site}"


def _is_https(scope: Scope, headers: dict[str, Any]) -> bool:
    return headers.get("x-forwarded-proto", scope.get("scheme", "http")).startswith("https")
