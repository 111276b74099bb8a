"""What every answer tells the browser: what may run, who may frame it, that a type is what it says, where it came from.

The policy was measured in Chromium over a whole session (tests/browser/test_policy.py). Gradio compiles the scripts of
`gr.HTML` in the page, so `unsafe-eval` has to stay; scripts written into the page do not: those of the page itself are
allowed by their hash, so words that somehow became markup still could not run.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_INLINE = re.compile(rb"<script(?![^>]{0,400}\ssrc\s*=)[^>]{0,400}>(.*?)</script>", re.DOTALL)
_PAGE = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'{hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; manifest-src 'self'; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {ancestors}"
)
# A picture, a zip or a line of JSON opened by itself runs nothing and loads nothing.
_FILE = "default-src 'none'; sandbox; frame-ancestors {ancestors}"


class Headers:
    """Plain ASGI, because streams must pass through untouched. `frames` are other sites that may show the studio in a frame.

    `first` is what the studio's page begins with: the framework has no place for what must run before its own scripts.
    """

    def __init__(self, app: ASGIApp, frames: str = "", first: str = "") -> None:
        self._app = app
        self._first = first.encode()
        self._ancestors = " ".join(("'self'", *frames.split()))
        self._is_framed = bool(frames.split())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        accepts_gzip = any(name == b"accept-encoding" and b"gzip" in value for name, value in scope["headers"])
        if scope["path"] == "/":
            # The page has to be read here, so nobody further in may pack it.
            scope = {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]}
        page: list[bytes] = []
        start: Message | None = None

        async def with_headers(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message["headers"]))
                self._add(headers)
                message = {**message, "headers": headers.raw}
                if headers.get("content-type", "").startswith("text/html") and "content-encoding" not in headers:
                    start = message
                    return
            elif start is not None and message["type"] == "http.response.body":
                page.append(message.get("body", b""))
                if message.get("more_body"):
                    return
                body = b"".join(page)
                if scope["path"] == "/":
                    body = body.replace(b"<head>", b"<head>" + self._first, 1)
                await self._send_page(start, body, send, accepts_gzip=accepts_gzip, has_body=scope["method"] != "HEAD")
                return
            await send(message)

        await self._app(scope, receive, with_headers)

    def _add(self, headers: MutableHeaders) -> None:
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "same-origin"
        headers["Content-Security-Policy"] = _FILE.format(ancestors=self._ancestors)
        if not self._is_framed:
            # For browsers that do not know frame-ancestors; it cannot name other sites, so it is left out where some are.
            headers["X-Frame-Options"] = "SAMEORIGIN"

    async def _send_page(self, start: Message, body: bytes, send: Send, *, accepts_gzip: bool, has_body: bool) -> None:
        headers = MutableHeaders(raw=list(start["headers"]))
        hashes = "".join(f" 'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in _INLINE.findall(body))
        headers["Content-Security-Policy"] = _PAGE.format(hashes=hashes, ancestors=self._ancestors)
        if accepts_gzip and has_body and len(body) > 1000:
            body = gzip.compress(body, 5)
            headers["Content-Encoding"] = "gzip"
            headers.add_vary_header("Accept-Encoding")
        if has_body:
            headers["Content-Length"] = str(len(body))
        await send({**start, "headers": headers.raw})
        await send({"type": "http.response.body", "body": body})
