"""A visitor's results over plain HTTP: pages, small pictures, the bin."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from engine import Engine, NotFound
from ui.bell import Bell
from ui.links import judge, picture_view
from ui.owner import cookie_owner, page_owner

_PAGE = 60
_ID = r"^[0-9a-f]{32}$"


class Tidying(BaseModel):
    """What to do with pictures: `empty` destroys all that is in the bin."""

    do: Literal["bin", "restore", "empty"]
    pictures: Annotated[list[Annotated[str, Field(pattern=_ID)]], Field(max_length=500)] = []


def add_tray(app: FastAPI, engine: Engine, bell: Bell) -> None:
    @app.get("/tray")
    def page(request: Request, after: str = "", bin: bool = False) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """One page of the visitor's results or of their bin; `after` is the last picture of the page before."""
        return tray_view(engine, cookie_owner(request), after=after[:64] or None, in_bin=bin)

    @app.post("/tray")
    def tidy(request: Request, wanted: Tidying) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """How many pictures that was, and how many are where now."""
        owner = page_owner(request)
        match wanted.do:
            case "bin":
                done = engine.throw_away(wanted.pictures, owner)
            case "restore":
                done = engine.bring_back(wanted.pictures, owner)
            case "empty":
                done = engine.empty_bin(owner)
        bell.ring(owner)
        counts = engine.tray(owner)
        return {"done": done, "shelf": counts.shelf, "bin": counts.bin}

    @app.get("/thumbnails/{name}.jpg")
    def thumbnail(request: Request, name: str, s: str = "") -> Response:  # pyright: ignore[reportUnusedFunction]
        """A small square JPEG, under the same link as the picture; for its owner a link never ends."""
        try:
            if judge(engine.secret, name, s) != "good":
                engine.picture(name, cookie_owner(request))
            content = engine.thumbnail(name)
        except NotFound as error:
            raise HTTPException(404, error.message) from error
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=31536000, immutable"})


def tray_view(engine: Engine, owner: str, *, after: str | None = None, in_bin: bool = False) -> dict[str, Any]:
    """A page of results, newest first, whether there are more, and how many there are in all."""
    found = engine.history(owner, _PAGE + 1, after=after, in_bin=in_bin)
    counts = engine.tray(owner)
    return {
        "pictures": [picture_view(picture, engine.secret) for picture in found[:_PAGE]],
        "has_more": len(found) > _PAGE,
        "shelf": counts.shelf,
        "bin": counts.bin,
    }
