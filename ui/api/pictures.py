"""Pictures that a program sends as words: a file in base64, the hash of one sent before, the id of a result."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from engine import Engine, InputImage, InvalidRequest, NotFound, parse_strokes

_HASH = re.compile(r"[0-9a-f]{64}")
_RESULT = re.compile(r"[0-9a-f]{32}")


def bring(engine: Engine, asked: Mapping[str, Any], owner: str) -> tuple[dict[str, Any], list[str]]:
    """What was asked with hashes in place of pictures, and notes on what was changed on the way in.

    Raises `InvalidRequest`, or `NotFound` for what is not the owner's.
    """
    values = dict(asked)
    if "source" not in values:
        return values, []
    source = _source(engine, values["source"], owner)
    values["source"] = source.hash
    if "mask" in values:
        values["mask"] = _mask(engine, source.hash, values["mask"], owner)
    return values, [source.note] if source.note else []


def _source(engine: Engine, given: object, owner: str) -> InputImage:
    text = _text(given, "source")
    if _HASH.fullmatch(text):
        return engine.input_image(text, owner)
    if _RESULT.fullmatch(text):
        return engine.input_from_picture(text, owner)
    return engine.add_input(_decoded(text, "source"), owner)


def _mask(engine: Engine, source: str, given: object, owner: str) -> str:
    """The hash of a mask. Whose a hash is, and whether it fits the source, is judged with the request."""
    if isinstance(given, list):
        return engine.add_mask(source, parse_strokes(given), owner).hash
    text = _text(given, "mask")
    if _HASH.fullmatch(text):
        return text
    content = _result(engine, text, owner) if _RESULT.fullmatch(text) else _decoded(text, "mask")
    return engine.add_mask(source, content, owner).hash


def _result(engine: Engine, picture_id: str, owner: str) -> bytes:
    try:
        return engine.picture(picture_id, owner).path.read_bytes()
    except OSError as error:
        raise NotFound("The file of this picture is gone.", "Choose another one.", "mask") from error


def _text(given: object, field: str) -> str:
    if not isinstance(given, str):
        raise _unreadable(field)
    return given.strip()


def _decoded(text: str, field: str) -> bytes:
    """The bytes of base64 with or without line breaks, bare or in a data URI."""
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise _unreadable(field)
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _unreadable(field) from None
    if not content:
        raise _unreadable(field)
    return content


def _unreadable(field: str) -> InvalidRequest:
    what = "mask" if field == "mask" else "source picture"
    return InvalidRequest(f"The {what} cannot be read.", "Send the file in base64, the hash of one sent before, or the id of a result.", field)
