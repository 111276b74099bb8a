"""The endpoints as tools of an agent: a real MCP client over HTTP, against a studio that was started with --mcp; closed without it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from engine import TextToImage
from tests.studio import ROOT, Studio
from tests.ui.test_door import call

TOOLS = {"txt2img", "img2img", "edit", "inpaint", "upscale", "controlnet"}


@pytest.fixture(scope="module")
def tooled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    if importlib.util.find_spec("mcp") is None:
        pytest.fail("The package mcp is not here. Install it with: pip install --requirement requirements-dev.txt")
    with Studio(tmp_path_factory.mktemp("studio"), "--mcp") as running:
        running.wait_ready()
        yield running


def test_an_agent_finds_the_tools_and_draws(tooled: Studio) -> None:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def talk() -> tuple[Any, Any, Any]:
        async with streamable_http_client(tooled.url + "/gradio_api/mcp") as (read, write, *_), ClientSession(read, write) as session:
            await session.initialize()
            listed = await session.list_tools()
            drawn = await session.call_tool("txt2img", {"prompt": "a red castle", "steps": 2, "width": 64, "height": 64, "seed": 5})
            refused = await session.call_tool("txt2img", {"prompt": "a red castle", "steps": 100_000})
            return listed, drawn, refused

    listed, drawn, refused = asyncio.run(talk())
    tools = {tool.name: tool for tool in listed.tools}
    assert set(tools) == TOOLS
    assert set(tools["txt2img"].inputSchema["properties"]) == set(TextToImage.model_fields) - {"mode"}
    assert "1 to 200" in json.dumps(tools["txt2img"].inputSchema)
    assert not drawn.isError
    text = "".join(block.text for block in drawn.content if block.type == "text")
    assert "done" in text
    picture = json.loads(text.replace("'", '"').replace("None", "null").replace("True", "true").replace("False", "false"))["pictures"][0]
    assert picture["recipe"]["seed"] == 5
    with urllib.request.urlopen(tooled.url + picture["download"], timeout=10) as answer:
        assert answer.read(8).startswith(b"\x89PNG")
    assert refused.isError
    assert "Steps" in "".join(block.text for block in refused.content)


@pytest.mark.parametrize("path", ["/gradio_api/mcp", "/gradio_api/mcp/", "/gradio_api/mcp/schema", "/gradio_api/mcp/sse"])
def test_without_the_flag_there_is_nothing(studio: Studio, path: str) -> None:
    assert call(studio, path)[0] == 404
    assert call(studio, path, method="POST", body=b"{}", Content_Type="application/json")[0] == 404


def test_another_site_reaches_no_tool(tooled: Studio) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert call(tooled, "/gradio_api/mcp", method="POST", body=b"{}", Content_Type="application/json", **headers)[0] == 403
    assert call(tooled, "/gradio_api/mcp/schema")[0] == 404


def test_without_the_package_the_flag_says_what_to_install(tmp_path_factory: pytest.TempPathFactory) -> None:
    blind = "import importlib.util as u, sys, app; find = u.find_spec; u.find_spec = lambda name, *a: None if name == 'mcp' else find(name, *a); sys.exit(app.main())"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", blind, "--mcp", "--data", str(tmp_path_factory.mktemp("data"))],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "requirements-mcp.txt" in done.stderr
