"""The web server around the page, and the visitor's cookie."""

from __future__ import annotations

import secrets
import warnings

import gradio as gr
from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine import Engine, is_loopback
from ui.arrivals import ArrivalQueue
from ui.bell import Bell
from ui.bundle import add_bundle, bundle_scripts
from ui.devices import add_devices
from ui.door import Door
from ui.fetching import add_fetching
from ui.following import add_following
from ui.headers import Headers
from ui.jobs import add_jobs
from ui.live import add_live
from ui.login import Login
from ui.models import add_models
from ui.operations import add_operations
from ui.owner import COOKIE, is_https, is_visitor_id, visitor_cookie
from ui.page import build_page
from ui.routes import add_routes
from ui.shelf import add_shelf
from ui.theme import CSS, build_theme, page_script
from ui.tray import add_tray

# Each program that follows a job holds one of these; the framework's own 40 would make the 41st wait.
_FOLLOWERS_MAX = 300
# The framework keeps about a megabyte for each open page, of ten thousand pages if nobody says otherwise.
_SESSIONS_MAX = 500


def build_app(engine: Engine) -> FastAPI:
    """The whole web application. The engine is started and closed by whoever calls this."""
    app = FastAPI(title="Easel", docs_url=None, redoc_url=None, openapi_url=None)
    add_routes(app, engine)
    add_live(app, engine)
    add_shelf(app, engine)
    add_fetching(app, engine)
    add_models(app, engine)
    add_operations(app, engine)
    # Whoever serves closes it first: open pages would keep the studio waiting at its end.
    app.state.bell = bell = Bell()
    add_following(app, engine, bell)
    add_jobs(app, engine, bell)
    add_tray(app, engine, bell)
    add_devices(app, engine, bell)
    page = build_page(engine, bell)
    first = add_bundle(app, bundle_scripts(page))
    page._queue = ArrivalQueue(page, at_once=_FOLLOWERS_MAX)  # pyright: ignore[reportPrivateUsage]
    page.max_threads = _FOLLOWERS_MAX
    page.state_session_capacity = _SESSIONS_MAX
    with warnings.catch_warnings():
        # The endpoints' page makes the framework say that it will not render on the server, which nobody asked it to.
        warnings.filterwarnings("ignore", message="SSR mode is not supported")
        app = gr.mount_gradio_app(
            app,
            page,
            path="/",
            theme=build_theme(),
            css_paths=list(CSS),
            js=page_script(),
            show_error=False,
            run_history=False,
            ssr_mode=False,
            enable_monitoring=False,
            # Said either way: else a variable of the environment would decide.
            mcp_server=engine.settings.mcp,
            max_file_size="20mb",
            footer_links=[],
        )
    # The last one added is met first: headers on everything, then who may come in, then who it is.
    app.add_middleware(VisitorCookie)
    if engine.people is not None:
        app.add_middleware(Login, people=engine.people, secret=engine.secret)
    is_local = not engine.settings.public and engine.people is None and is_loopback(engine.settings.host)
    app.add_middleware(Door, is_local=is_local, has_tools=engine.settings.mcp)
    app.add_middleware(Headers, frames=engine.settings.frames, first=first)
    return app


class VisitorCookie:
    """Gives each browser an unguessable name. Plain ASGI, because streams must pass through untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        known = request.cookies.get(COOKIE, "")
        # Sent again with every page: its year begins anew, and who comes each day never loses their pictures.
        name = known if is_visitor_id(known) else secrets.token_urlsafe(32)

        async def with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {
                    **message,
                    "headers": [*message["headers"], (b"set-cookie", visitor_cookie(name, is_https=is_https(request)).encode())],
                }
            await send(message)

        await self._app(scope, receive, with_cookie if scope["path"] == "/" else send)
