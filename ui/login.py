"""Signing in, where the studio has a file of people. Nothing but the sign-in page answers a stranger."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import threading
import time
from collections import OrderedDict
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from engine import People
from ui.owner import COOKIE, PERSON, is_https
from ui.throttle import Throttle, address_of

SESSION = "easel_session"
# Answered without signing in: whether the studio lives, for whatever watches over it. `/metrics` has a rule of its own.
_OPEN = ("/healthz", "/readyz", "/metrics")
_SESSION_S = 14 * 24 * 3600
_BODY_MAX = 4096
_TRIES_BY_ADDRESS, _TRIES_BY_NAME = 10, 30
_PAGE = (Path(__file__).with_name("login.html")).read_text(encoding="utf-8")


class Login:
    """A person who has signed in has one visitor's name on every device, so their pictures follow them."""

    def __init__(self, app: ASGIApp, *, people: People, secret: bytes) -> None:
        self._app = app
        self._people = people
        self._key = hmac.new(secret, b"sign in", hashlib.sha256).digest()
        self._throttle = Throttle(by_address=_TRIES_BY_ADDRESS, by_name=_TRIES_BY_NAME)
        # One check at a time: each takes 32 MB, and a hundred at once would be a way to stop the studio.
        self._one = threading.Lock()
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _OPEN:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        if scope["path"] == "/login":
            await (await self._sign_in(request))(scope, receive, send)
            return
        if scope["path"] == "/logout":
            await self._sign_out(request)(scope, receive, send)
            return
        name = self._by_session(request.cookies.get(SESSION, "")) or await run_in_threadpool(self._by_password, request)
        if name is None:
            await self._turn_away(request)(scope, receive, send)
            return
        await self._app({**scope, PERSON: name, "headers": _as_visitor(scope, self._visitor(name))}, receive, send)

    async def _sign_in(self, request: Request) -> Response:
        if request.method != "POST":
            return _form("")
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _BODY_MAX:
                return _form("That is too long.", 413)
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
        name, password = (fields.get(key, [""])[0] for key in ("name", "password"))
        wait_s, is_right = await run_in_threadpool(self._try, address_of(request), name, password)
        if wait_s:
            answer = _form(f"Too many tries. Wait {wait_s // 60 + 1} min, then try again.", 429)
            answer.headers["Retry-After"] = str(wait_s)
            return answer
        if not is_right:
            return _form("Name or password is wrong.", 401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(SESSION, self._session(name), max_age=_SESSION_S, httponly=True, secure=is_https(request), samesite="lax")
        return answer

    def _sign_out(self, request: Request) -> Response:
        if request.method != "POST":
            return JSONResponse({"message": "Signing out is a POST.", "hint": "Use the button."}, 405)
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(SESSION)
        return answer

    def _try(self, address: str, name: str, password: str) -> tuple[int, bool]:
        """(seconds to wait, whether it is right). A try that has to wait is not even looked at."""
        with self._one:
            if wait_s := self._throttle.wait_s(address, name):
                return wait_s, False
            if self._people.is_right(name, password):
                return 0, True
            self._throttle.failed(address, name)
            return 0, False

    def _by_password(self, request: Request) -> str | None:
        """A program signs in with each request; a right answer is remembered for ten minutes."""
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            name, _, password = base64.b64decode(given, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return None
        key = hmac.new(self._key, given.encode(), hashlib.sha256).digest()
        if (found := self._known.get(key)) and found[1] > time.monotonic():
            return found[0]
        if not self._try(address_of(request), name, password)[1]:
            return None
        self._known[key] = (name, time.monotonic() + 600)
        while len(self._known) > 256:
            self._known.popitem(last=False)
        return name

    def _session(self, name: str) -> str:
        until = int(time.time()) + _SESSION_S
        return f"{name}/{until}/{self._sign(name, until)}"

    def _by_session(self, cookie: str) -> str | None:
        name, _, rest = cookie.partition("/")
        until, _, signature = rest.partition("/")
        if not until.isascii() or not until.isdigit() or len(until) > 12 or int(until) < time.time():
            return None
        return name if self._people.stamp(name) and hmac.compare_digest(self._sign(name, int(until)).encode(), signature.encode()) else None

    def _sign(self, name: str, until: int) -> str:
        # The hash of the password is part of it: a new password ends every old session.
        return hmac.new(self._key, f"{name}/{until}/{self._people.stamp(name)}".encode(), hashlib.sha256).hexdigest()

    def _visitor(self, name: str) -> str:
        return base64.urlsafe_b64encode(hmac.new(self._key, f"visitor {name}".encode(), hashlib.sha256).digest()).decode().rstrip("=")

    @staticmethod
    def _turn_away(request: Request) -> Response:
        if request.method == "GET" and request.url.path == "/":
            return RedirectResponse("/login", 303)
        return JSONResponse({"message": "Nobody is signed in.", "hint": "Open the studio's page and sign in."}, 401)


def _as_visitor(scope: Scope, visitor: str) -> list[tuple[bytes, bytes]]:
    """The request's headers with the visitor's cookie of the person, whatever the browser sent."""
    sent = SimpleCookie(Headers(scope=scope).get("cookie", ""))
    others = [f"{key}={one.coded_value}" for key, one in sent.items() if key not in (COOKIE, SESSION)]
    cookie = "; ".join([*others, f"{COOKIE}={visitor}"])
    return [*((key, value) for key, value in scope["headers"] if key != b"cookie"), (b"cookie", cookie.encode("latin-1"))]


def _form(text: str, status: int = 200) -> HTMLResponse:
    # The sentences are ours: nothing that was typed goes into the page.
    return HTMLResponse(_PAGE.replace("__SAID__", text).replace("__HIDDEN__", "" if text else "hidden"), status)
