"""Pictures that a program sends as words: a file in base64, the hash of one sent before, the id of a result."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, cast

from engine import Engine, EngineError, InputImage, InvalidRequest, NotFound, parse_strokes

_HASH = re.compile(r"[0-9a-f]{64}")
_RESULT = re.compile(r"[0-9a-f]{32}")


def bring(engine: Engine, asked: Mapping[str, Any], owner: str) -> tuple[dict[str, Any], list[str]]:
    """What was asked with hashes in place of pictures, and notes on what was changed on the way in.

    Raises `InvalidRequest`, or `NotFound` for what is not the owner's.
    """
    values, notes = dict(asked), []
    if "source" in values:
        source = _brought(engine, values["source"], owner, "source")
        values["source"] = source.hash
        notes.append(source.note)
        if "mask" in values:
            values["mask"] = _mask(engine, source.hash, values["mask"], owner)
    if isinstance(values.get("pictures"), list):
        values["pictures"] = [_with_picture(engine, {"image": one}, owner, "pictures", notes)["image"] for one in values["pictures"]]
    for field in ("references", "controls"):
        if isinstance(values.get(field), list):
            values[field] = [_with_picture(engine, one, owner, field, notes) for one in values[field]]
    return values, [note for note in notes if note]


def _brought(engine: Engine, given: object, owner: str, field: str) -> InputImage:
    text = _text(given, field)
    try:
        if _HASH.fullmatch(text):
            return engine.input_image(text, owner)
        if _RESULT.fullmatch(text):
            return engine.input_from_picture(text, owner)
        return engine.add_input(_decoded(text, field), owner)
    except EngineError as error:
        raise type(error)(error.message, error.hint, field) from None


def _with_picture(engine: Engine, given: Any, owner: str, field: str, notes: list[str]) -> Any:
    """What has a picture, with its hash. Whose a hash is, and what else it may be, is judged with the request."""
    if not isinstance(given, dict) or "image" not in given:
        return given
    known = cast(dict[str, Any], given)
    if _HASH.fullmatch(text := _text(known["image"], field)):
        return {**known, "image": text}
    image = _brought(engine, known["image"], owner, field)
    notes.append(image.note)
    return {**known, "image": image.hash}


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
    what = {"mask": "mask", "references": "reference picture", "controls": "picture of a control unit", "pictures": "picture beside the source"}.get(
        field, "source picture"
    )
    return InvalidRequest(f"The {what} cannot be read.", "Send the file in base64, the hash of one sent before, or the id of a result.", field)
