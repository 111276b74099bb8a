"""What makes the page and its endpoints quick: little is sent, scripts are kept, nobody waits for a clock."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from engine import Engine, TextToImage
from tests.conftest import OWNER
from tests.studio import Studio
from tests.ui.test_door import call
from ui.api import endpoints
from ui.bell import Bell


def test_the_page_begins_with_one_script_that_is_kept(studio: Studio) -> None:
    _, _, page = call(studio, "/")
    first = re.search(rb"<script[^>]*>", page)
    assert first
    address = re.search(rb'src="(/easel\.js\?v=[0-9a-f]{16})"', first[0])
    assert address
    status, headers, script = call(studio, address[1].decode())
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/javascript")
    assert "immutable" in headers["cache-control"]
    assert b"window.easelParts" in script
    packed = call(studio, address[1].decode(), Accept_Encoding="gzip")
    assert gzip.decompress(packed[2]) == script
    # Under the name of another version nobody keeps it.
    assert call(studio, "/easel.js?v=0123456789abcdef")[1]["cache-control"] == "no-store"
    assert call(studio, "/easel.js")[1]["cache-control"] == "no-store"


def test_the_page_carries_no_scripts_of_its_parts_and_no_endpoints(studio: Studio) -> None:
    _, _, page = call(studio, "/")
    found = re.search(rb"window\.gradio_config = (\{.*?\});</script>", page)
    assert found
    here, whole = json.loads(found[1]), json.loads(call(studio, "/config")[2])
    scripts = [one["props"]["js_on_load"] for one in here["components"] if one["type"] == "html"]
    print(f"the page is {len(page) / 1024:.0f} KB with {len(here['components'])} components; with its endpoints {len(whole['components'])}")
    assert len(scripts) > 20
    assert max(map(len, scripts)) < 100
    assert not [one for one in here["components"] if one["type"] == "api"]
    # For programs they are all there.
    named = {one["api_name"] for one in whole["dependencies"]}
    assert {"txt2img", "img2img", "edit", "inpaint", "upscale", "controlnet"} <= named
    info = json.loads(call(studio, "/gradio_api/info")[2])
    assert set(info["named_endpoints"]) == {"/txt2img", "/img2img", "/edit", "/inpaint", "/upscale", "/controlnet"}


def test_a_load_asks_the_server_once(studio: Studio) -> None:
    config = json.loads(call(studio, "/config")[2])
    asking = [one for one in config["dependencies"] if one["backend_fn"] and any(event == "load" for _, event in one["targets"])]
    assert len(asking) == 1


def test_an_endpoint_is_woken_by_its_job(inline_engine: Engine, request_of: Callable[..., TextToImage], monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    sleep = asyncio.sleep

    async def count(seconds: float, *more: Any) -> None:
        paused.append(seconds)
        await sleep(seconds, *more)

    monkeypatch.setattr(asyncio, "sleep", count)

    async def watch() -> list[dict[str, Any]]:
        job = inline_engine.submit(request_of(steps=3), OWNER)
        return [message async for message in endpoints._follow(inline_engine, job.id, OWNER, [])]  # pyright: ignore[reportPrivateUsage]

    messages = asyncio.run(asyncio.wait_for(watch(), 120))
    assert messages[-1]["state"] == "done"
    # Only those who stand behind others wait by the clock.
    assert not any(paused)


def test_a_page_is_stirred_without_a_ring() -> None:
    async def listen() -> list[bool]:
        bell = Bell()
        with bell.hear("visitor") as ear:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, ear.stir)
            heard = [await ear.wait(30)]
            await loop.run_in_executor(None, bell.ring, "visitor")
            heard.append(await ear.wait(30))
            # Both at once are one waking, and it says that there was a ring.
            bell.ring("visitor")
            ear.stir()
            heard += [await ear.wait(30), await ear.wait(0.01)]
        return heard

    assert asyncio.run(listen()) == [False, True, True, False]
