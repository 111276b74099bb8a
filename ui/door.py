"""Which requests come in at all: our own routes, those of Gradio that the page needs, and changes only from our own page."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# Gradio serves much more: uploads into a folder of its own, a proxy, monitoring, an editor of its own code.
_NEEDED = re.compile(
    r"/gradio_api/(info|app_id|login_check|theme\.css|startup-events|reset|cancel|heartbeat/[^/]+|queue/(join|data|status)"
    r"|(run|call)/[^/]+(/[^/]+)?|file=(?!\w+:).*)/?"
)
_TOOLS = "/gradio_api/mcp"
_CLOSED = ("/monitoring", "/openapi.json")
_SAFE = ("GET", "HEAD", "OPTIONS")
_BODIES = {"/inputs": "application/octet-stream", "/loras": "application/octet-stream", "/login": "application/x-www-form-urlencoded"}


class Door:
    """`is_local` is a studio on loopback without `--public`: only this machine's own names for it are answered.

    Else a page of a stranger whose name is suddenly made to mean 127.0.0.1 would count as our own.
    `has_tools` opens the one address of the MCP server.
    """

    def __init__(self, app: ASGIApp, *, is_local: bool, has_tools: bool = False) -> None:
        self._app = app
        self._is_local = is_local
        self._has_tools = has_tools

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, message, hint = refusal
        await JSONResponse({"message": message, "hint": hint, "detail": f"{message} {hint}"}, status)(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str, str] | None:
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        if self._is_local and not _is_this_machine(headers.get("host", "")):
            return 403, "This studio answers on this machine only.", "Open it by 127.0.0.1 or localhost, or start it with --public."
        if (
            path.startswith(_CLOSED)
            or (path.rstrip("/") == "/logout" and method in _SAFE)
            or (path.startswith("/gradio_api/") and not _NEEDED.fullmatch(path) and not (self._has_tools and path.rstrip("/") == _TOOLS))
        ):
            return 404, "There is nothing here.", "Open the studio's page."
        if method in _SAFE:
            return None
        if not is_own(headers):
            return 403, "This request comes from another site.", "Use the studio's own page."
        expected = _BODIES.get(path, "application/json")
        if headers.get("content-length", "") != "0" and headers.get("content-type", "").partition(";")[0].strip() != expected:
            return 415, "This is not what is expected here.", f"Send {expected}."
        return None


def is_own(headers: Headers) -> bool:
    """Whether a page of ours sent it, or a program: browsers always say where a change comes from, and cannot be made to lie."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return True
    return bool(origin) and urlsplit(origin).netloc in (headers.get("host"), headers.get("x-forwarded-host"))


def _is_this_machine(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return name == "localhost" or name.endswith(".localhost") or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
