"""The scripts of all the page's parts as one file that browsers keep.

Inside the page's configuration they would be sent with every load, compiled anew, and copied by the framework at each event of their part.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import Response

# Before the framework has begun: what is told is kept until there is a stage to show it; what lies over the page is known to all parts.
_EARLY = tuple(Path(__file__).parent / "canvas" / name for name in ("layers.js", "follow.js"))
# What the framework hands to the script of a part, in its order.
_GIVEN = "element, trigger, props, server, upload, watch"
_ADDRESS = "/easel.js"


def bundle_scripts(blocks: gr.Blocks) -> str:
    """Take the scripts out of the parts, each of which calls its own from here on; equal ones are one."""
    numbers: dict[str, int] = {}
    for block in blocks.blocks.values():
        if isinstance(block, gr.HTML) and block.js_on_load:
            number = numbers.setdefault(block.js_on_load, len(numbers))
            block.js_on_load = f"window.easelParts[{number}]({_GIVEN});"
    parts = ",\n".join(f"({_GIVEN}) => {{\n{script}\n}}" for script in numbers)
    early = "".join(f"{{\n{one.read_text(encoding='utf-8')}\n}}\n" for one in _EARLY)
    return f"{early}window.easelParts = [\n{parts}\n];\n"


def add_bundle(app: FastAPI, script: str) -> str:
    """Serve it; the tag that belongs into the head of the page. Its address changes with what it says."""
    content = script.encode()
    name, packed = hashlib.sha256(content).hexdigest()[:16], gzip.compress(content)

    @app.get(_ADDRESS)
    def bundle(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        # An address of another version, or none: what is here now, but nobody keeps it under that name.
        is_named = request.query_params.get("v") == name
        headers = {"Cache-Control": "private, max-age=31536000, immutable" if is_named else "no-store", "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(packed, media_type="text/javascript", headers={**headers, "Content-Encoding": "gzip"})
        return Response(content, media_type="text/javascript", headers=headers)

    return f'<script src="{_ADDRESS}?v={name}"></script>'
