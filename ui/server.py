"""The web server around the page: visitor cookie, signed pictures, health."""

from __future__ import annotations

import secrets
from http.cookies import SimpleCookie
from typing import Any

import gradio as gr
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine import Engine, NotFound
from ui.links import is_signed
from ui.owner import COOKIE, is_visitor_id
from ui.page import build_page
from ui.theme import CSS, KEYS_JS, build_theme

# Each follower of a job holds one of these; the framework's own 40 would make the 41st visitor wait.
_FOLLOWERS_MAX = 300
_YEAR_S = 365 * 24 * 3600


def build_app(engine: Engine) -> FastAPI:
    """The whole web application. The engine is started and closed by whoever calls this."""
    app = FastAPI(title="Easel", docs_url=None, redoc_url=None, openapi_url=None)
    _add_routes(app, engine)
    page = build_page(engine)
    page.queue(default_concurrency_limit=None)
    page.max_threads = _FOLLOWERS_MAX
    app = gr.mount_gradio_app(
        app,
        page,
        path="/",
        theme=build_theme(),
        css_paths=CSS,
        js=KEYS_JS.read_text(encoding="utf-8"),
        show_error=False,
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        max_file_size="20mb",
        footer_links=[],
    )
    page._queue.max_thread_count = _FOLLOWERS_MAX  # pyright: ignore[reportPrivateUsage]
    app.add_middleware(VisitorCookie)
    return app


def _add_routes(app: FastAPI, engine: Engine) -> None:
    @app.get("/healthz")
    def healthz() -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """200 while the page serves; `worker` says whether pictures can be drawn."""
        health = engine.health()
        return JSONResponse({"status": "ok", "ready": health.is_ready, "worker": health.worker, "queued": health.queued, "model": health.model})

    @app.get("/pictures/{name}")
    def picture(name: str, s: str = "", download: bool = False) -> Response:  # pyright: ignore[reportUnusedFunction]
        """The original bytes, recipe and all, for whoever has the signed link."""
        picture_id = name.removesuffix(".png")
        if not is_signed(engine.secret, picture_id, s):
            raise HTTPException(403, "This link is not valid.")
        try:
            found = engine.picture(picture_id)
        except NotFound as error:
            raise HTTPException(404, error.message) from error
        if not found.path.is_file():
            raise HTTPException(404, "The file of this picture is gone.")
        headers = {"Cache-Control": "private, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        saved_as = f"easel-{found.seed}.png" if download else None
        return FileResponse(found.path, media_type="image/png", headers=headers, filename=saved_as)


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

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra: list[tuple[bytes, bytes]] = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin")]
                if wants_one:
                    extra.append((b"set-cookie", _cookie(_is_https(scope, headers)).encode()))
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self._app(scope, receive, with_headers)


def _cookie(is_https: bool) -> str:
    # Hosted Spaces show the page inside a frame of another site: there only None with Secure is sent back.
    site = "SameSite=None; Secure" if is_https else "SameSite=Lax"
    return f"{COOKIE}={secrets.token_urlsafe(32)}; Path=/; Max-Age={_YEAR_S}; HttpOnly; {site}"


def _is_https(scope: Scope, headers: dict[str, Any]) -> bool:
    return headers.get("x-forwarded-proto", scope.get("scheme", "http")).startswith("https")
