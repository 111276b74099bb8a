"""Previews on the page's side of a host, where no step waits for them: thrown away, or made into picture files."""

from __future__ import annotations

import io
from dataclasses import replace

from PIL import Image

from engine.contract.work import HostMessage, Sketch, Stepped

_QUALITY = 65


def lean(message: HostMessage, *, is_newest: bool) -> HostMessage:
    """The message without its preview where a newer one waits already: that one's preview is worth more."""
    return message if is_newest or not isinstance(message, Stepped) else replace(message, preview=None)


def to_jpeg(sketch: Sketch) -> bytes:
    """About 2 ms: the sketch with its longer edge at `edge` pixels."""
    image = Image.frombytes("RGB", (sketch.width, sketch.height), sketch.rgb)
    scale = sketch.edge / max(image.size)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=_QUALITY)
    return file.getvalue()
