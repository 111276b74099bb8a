"""A hub of one's own on this machine, for as much of its language as the library speaks to fetch files: what is there, heads, ranges."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "1a2b3c4d" * 5
LATER = "9f8e7d6c" * 5


class TinyHub:
    """Repositories by name, files by path. `breaks_at` cuts the line after so many bytes of each answer; `lies` sends other bytes.

    As on the real one, small files are known by git's SHA-1 and all others by SHA-256. `bytes_per_s` makes it slow;
    `broken` are files that it answers for with an error; with `sends_elsewhere` large files lie at another address.
    """

    def __init__(self, repositories: dict[str, dict[str, bytes]], card: dict[str, Any] | None = None) -> None:
        self.repositories = repositories
        self.card = card or {}
        self.gated: set[str] = set()
        self.broken: dict[str, int] = {}
        self.bytes_per_s: int | None = None
        self.breaks_at: int | None = None
        self.lies = False
        self.ignores_ranges = False
        self.sends_elsewhere = False
        self.status = 200
        self.commit = COMMIT
        # Held back until this is set: somebody who looks sees a fetch under way.
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.asked: list[tuple[str, str, str]] = []
        # Addresses that somebody's token was shown to.
        self.told_tokens: list[str] = []

    def __enter__(self) -> TinyHub:
        hub = self

        class Handler(_Handler):
            tiny = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.goes_on.set()
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def ranges(self) -> list[str]:
        """The ranges that were asked for of files, in order; empty for a whole one."""
        return [wanted for method, path, wanted in self.asked if method == "GET" and "/resolve/" in path]


def _promise(path: str, content: bytes) -> dict[str, Any]:
    if path.endswith((".json", ".md", ".txt")):
        return {"blobId": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}
    return {"blobId": "0" * 40, "lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}}


def files_of(folder: Path) -> dict[str, bytes]:
    """A folder as the files of a repository."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class _Handler(BaseHTTPRequestHandler):
    tiny: TinyHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.tiny.asked.append((self.command, path, self.headers.get("Range", "")))
        if self.headers.get("Authorization"):
            self.tiny.told_tokens.append(path)
        if self.tiny.status != 200:
            return self._send(self.tiny.status, b"{}")
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            return self._model(found[1], found[2])
        if found := re.fullmatch(r"(/store)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if self.tiny.sends_elsewhere and not found[1] and path.endswith(".safetensors"):
                # Another name of the same machine is another origin: nobody's token goes there.
                return self._send(302, b"", {"Location": f"{self.tiny.endpoint.replace('127.0.0.1', 'localhost')}/store{path}"})
            return self._file(*found.groups()[1:])
        return self._send(404, b"{}")

    def _model(self, name: str, revision: str | None) -> None:
        files = self.tiny.repositories.get(name)
        if files is None:
            return self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        if revision not in (None, "main", self.tiny.commit):
            return self._send(404, b'{"error": "Revision not found"}', {"X-Error-Code": "RevisionNotFound"})
        siblings = [{"rfilename": path, "size": len(content), **_promise(path, content)} for path, content in files.items()]
        answer: dict[str, Any] = {"id": name, "modelId": name, "sha": self.tiny.commit, "siblings": siblings, "cardData": self.tiny.card, "tags": []}
        answer |= {"downloads": 0, "gated": "auto" if name in self.tiny.gated else False}
        return self._send(200, json.dumps(answer).encode())

    def _file(self, name: str, revision: str, path: str) -> None:
        if name in self.tiny.gated:
            return self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        content = self.tiny.repositories.get(name, {}).get(path)
        if content is None or revision != self.tiny.commit:
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        if path in self.tiny.broken:
            return self._send(self.tiny.broken[path], b"{}")
        if self.tiny.lies:
            content = bytes(one ^ 1 for one in content)
        start, end, status = 0, len(content), 200
        if (wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))) and not self.tiny.ignores_ranges:
            start, status = int(wanted[1]), 206
            end = min(int(wanted[2]) + 1, end) if wanted[2] else end
        rest = content[start:end]
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"} if status == 206 else {}
        cut = len(rest) if self.tiny.breaks_at is None else self.tiny.breaks_at
        self._head(status, len(rest), headers)
        half = cut // 2
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._pour(rest[:half])
            self.tiny.goes_on.wait(30)
            self._pour(rest[half:cut])
        if cut < len(rest):
            self.close_connection = True
        return None

    def _pour(self, content: bytes) -> None:
        """At once, or as slowly as the hub is said to be: what is slow looks anew before every piece."""
        at = 0
        while at < len(content):
            pace = self.tiny.bytes_per_s
            piece = len(content) if pace is None else max(1, pace // 20)
            self.wfile.write(content[at : at + piece])
            self.wfile.flush()
            at += piece
            if pace is not None:
                time.sleep(0.05)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), "X-Repo-Commit": self.tiny.commit, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._head(status, len(body), headers or {})
        self.wfile.write(body)
