"""Previews to picture files, on the page's side of a host: no step waits for it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

from PIL import Image

from engine.contract.work import HostMessage, Sketch, Stepped

_QUALITY = 65


def packed(message: HostMessage, is_newest: Callable[[], bool] = lambda: True) -> HostMessage:
    """The message with its preview as a JPEG; without one where a newer message waits already: that one's preview is worth more."""
    if not isinstance(message, Stepped) or not isinstance(message.preview, Sketch):
        return message
    return replace(message, preview=to_jpeg(message.preview) if is_newest() else None)


def to_jpeg(sketch: Sketch) -> bytes:
    """About 2 ms: the sketch with its longer edge at `edge` pixels."""
    image = Image.frombytes("RGB", (sketch.width, sketch.height), sketch.rgb)
    scale = sketch.edge / max(image.size)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=_QUALITY)
    return file.getvalue()
