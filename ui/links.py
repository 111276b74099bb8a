"""Signed links to pictures: whoever has the link has the picture, and nobody can make one up."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from engine import Picture


def sign(secret: bytes, picture_id: str) -> str:
    return hmac.new(secret, picture_id.encode(), hashlib.sha256).hexdigest()[:32]


def browser_key(secret: bytes) -> str:
    """The key of what the browser keeps for itself. Every page carries it, so it must never be the one that signs."""
    return hmac.new(secret, b"browser state", hashlib.sha256).hexdigest()


def is_signed(secret: bytes, picture_id: str, signature: str) -> bool:
    return hmac.compare_digest(sign(secret, picture_id), signature)


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
    }
