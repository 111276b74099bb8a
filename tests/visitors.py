"""Visitors of a running studio: each with a cookie of their own, asking, following and looking over plain HTTP, many at once."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from engine import TextToImage
from engine.library.metadata import read_recipe
from ui.api.parameters import names_of

NAMES = names_of(TextToImage)
Message = dict[str, Any]


@dataclass
class Drawing:
    """What a visitor saw of one job. `accepted_s` runs from the click to the first word about the job; `places` are (when, place in line)."""

    prompt: str
    asked_at: float
    accepted_s: float = 0.0
    job: str = ""
    places: list[tuple[float, int]] = field(default_factory=list)
    ended_at: float = 0.0
    recipe: Message = field(default_factory=dict)
    download: str = ""


class Visitor:
    """One browser, without the browser. Use as a context."""

    def __init__(self, url: str, number: int = 0) -> None:
        self.number = number
        self.cookie = secrets.token_urlsafe(32)
        # One for a tab, as a browser and gradio_client have it.
        self.session = secrets.token_hex(8)
        self._http = httpx.AsyncClient(base_url=url, cookies={"easel_visitor": self.cookie}, timeout=httpx.Timeout(60, read=240))

    async def __aenter__(self) -> Visitor:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    @property
    def owner(self) -> str:
        return f"visitor-{self.cookie}"

    async def ask(self, prompt: str, **values: object) -> str:
        """Press Generate at the endpoint; the name of the stream to follow."""
        asked = {"prompt": prompt, **values}
        body = {"data": [asked.get(name) for name in NAMES], "session_hash": self.session}
        answer = await self._http.post("/gradio_api/call/txt2img", json=body)
        answer.raise_for_status()
        return str(answer.json()["event_id"])

    async def join(self, number: int) -> None:
        """Begin what a page does by itself: function `number` of its config, without values. Its updates come by `session`."""
        answer = await self._http.post("/gradio_api/queue/join", json={"data": [], "fn_index": number, "session_hash": self.session})
        answer.raise_for_status()

    async def follow(self, stream: str) -> AsyncIterator[Message]:
        """Messages until the ending. Raises `RuntimeError` with what the studio said where it refused or failed."""
        async with self._http.stream("GET", f"/gradio_api/call/txt2img/{stream}") as answer:
            answer.raise_for_status()
            kind = ""
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: ") and kind == "error":
                    raise RuntimeError(line)
                elif line.startswith("data: ") and kind == "generating" and isinstance(given := json.loads(line.removeprefix("data: ")), list):
                    yield given[0]

    async def draw(self, prompt: str, **values: object) -> Drawing:
        """One job from the click to its picture's address."""
        drawing = Drawing(prompt, time.monotonic())
        async for message in self.follow(await self.ask(prompt, **values)):
            if not drawing.job:
                drawing.job, drawing.accepted_s = message.get("job", ""), time.monotonic() - drawing.asked_at
            if message["state"] == "waiting":
                drawing.places.append((time.monotonic(), message["position"]))
            if message["state"] == "done":
                drawing.ended_at = time.monotonic()
                drawing.recipe, drawing.download = message["pictures"][0]["recipe"], message["pictures"][0]["download"]
        if not drawing.download:
            raise RuntimeError(f"the job {drawing.job} ended without a picture")
        return drawing

    async def get(self, path: str) -> httpx.Response:
        return await self._http.get(path)

    async def is_mine(self, drawing: Drawing) -> bool:
        """Whether the file behind the link is the picture that was asked for, to the letter."""
        answer = await self.get(drawing.download)
        return answer.status_code == 200 and read_recipe(io.BytesIO(answer.content)).prompt == drawing.prompt


async def at_once(url: str, count: int, what: Any) -> list[Any]:
    """`what(visitor)` of so many visitors, side by side; whatever one of them raises is raised."""
    visitors = [Visitor(url, number) for number in range(count)]
    try:
        return list(await asyncio.gather(*(what(visitor) for visitor in visitors)))
    finally:
        await asyncio.gather(*(visitor.__aexit__() for visitor in visitors))
