"""Signed links to results and sources: whoever has the link has the picture for half a day, and nobody can make one up.

The visitor whose picture it is never meets the end of a link: their cookie comes along, and the answer is a new one
(`ui/routes.py`). So a page that slept for a week shows everything, and a link that was passed on ends.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any, Literal

from engine import InputImage, Picture, weights_words

# A link says the end of the half-day after the one it was made in: all of one half-day are equal, so browsers can keep pictures.
_HALF_DAY_S = 12 * 3600


def sign(secret: bytes, name: str, at: float | None = None) -> str:
    """When it ends and the signature over name and end. `at` is the time at which it is made: now."""
    end = (int((time.time() if at is None else at) // _HALF_DAY_S) + 2) * _HALF_DAY_S
    return f"{end:x}-{_signature(secret, name, end)}"


def judge(secret: bytes, name: str, signed: str) -> Literal["good", "stale", "wrong"]:
    """What a link is worth: stale ones were good once."""
    end, _, signature = signed.partition("-")
    try:
        until = int(end[:16], 16)
    except ValueError:
        return "wrong"
    if not hmac.compare_digest(_signature(secret, name, until).encode(), signature.encode()):
        return "wrong"
    return "good" if time.time() < until else "stale"


def _signature(secret: bytes, name: str, end: int) -> str:
    return hmac.new(secret, f"{end:x} {name}".encode(), hashlib.sha256).hexdigest()[:32]


def browser_key(secret: bytes) -> str:
    """The key of what the browser keeps for itself. Every page carries it, so it must never be the one that signs."""
    return hmac.new(secret, b"browser state", hashlib.sha256).hexdigest()


def picture_view(picture: Picture, secret: bytes) -> dict[str, Any]:
    """What the stage and the strip need to show one picture."""
    url = f"/pictures/{picture.id}.png?s={sign(secret, picture.id)}"
    return {
        "id": picture.id,
        "url": url,
        "thumbnail": f"/thumbnails/{picture.id}.jpg?s={sign(secret, picture.id)}",
        "download": f"{url}&download=1",
        "prompt": picture.recipe.prompt,
        "seed": picture.seed,
        "seconds": round(picture.seconds, 1),
        "width": picture.width,
        "height": picture.height,
        "steps": picture.recipe.steps_run,
        "is_partial": picture.recipe.stopped_after_calls is not None,
        "weights": picture.recipe.packing and f"weights {weights_words(picture.recipe.packing)}",
        "mode": picture.recipe.mode,
        "seamless": picture.recipe.seamless,
        "source": source_url(picture.recipe.source, secret) if picture.recipe.source else None,
    }


def source_url(digest: str, secret: bytes) -> str:
    return f"/inputs/{digest}.png?s={sign(secret, digest)}"


def source_view(image: InputImage, secret: bytes) -> dict[str, Any]:
    """What the source and the mask editor need to show a picture that somebody brought."""
    return {
        "kind": "picture",
        "hash": image.hash,
        "url": source_url(image.hash, secret),
        "width": image.width,
        "height": image.height,
        "note": image.note,
    }
