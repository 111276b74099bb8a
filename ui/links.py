"""Signed links to results and sources: whoever has the link has the picture, and nobody can make one up."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from engine import InputImage, Picture


def sign(secret: bytes, name: str) -> str:
    return hmac.new(secret, name.encode(), hashlib.sha256).hexdigest()[:32]


def browser_key(secret: bytes) -> str:
    """The key of what the browser keeps for itself. Every page carries it, so it must never be the one that signs."""
    return hmac.new(secret, b"browser state", hashlib.sha256).hexdigest()


def is_signed(secret: bytes, name: str, signature: str) -> bool:
    return hmac.compare_digest(sign(secret, name), signature)


def picture_view(picture: Picture, secret: bytes) -> dict[str, Any]:
    """What the stage and the strip need to show one picture."""
    url = f"/pictures/{picture.id}.png?s={sign(secret, picture.id)}"
    return {
        "id": picture.id,
        "url": url,
        "download": f"{url}&download=1",
        "prompt": picture.recipe.prompt,
        "seed": picture.seed,
        "seconds": round(picture.seconds, 1),
        "width": picture.width,
        "height": picture.height,
        "steps": picture.recipe.steps,
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
