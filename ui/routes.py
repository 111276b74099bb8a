"""Plain HTTP beside the page: pictures out, pictures in, maps of pictures, sheets as a zip."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, Field
from starlette.background import BackgroundTask

from engine import UPLOAD_BYTES_MAX, Engine, EngineError, NotFound, PictureFormat
from ui.carried import carried_view
from ui.links import judge, sign, source_view
from ui.owner import cookie_owner, page_owner

PRESETS = Path(__file__).resolve().parents[1] / "presets"
# A zip of sources may be larger than one picture; the engine judges what it unpacks to.
_BODY_MAX = 3 * UPLOAD_BYTES_MAX
# What lies behind a name never changes; the browser of a visitor may keep it.
_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}


class MapWanted(BaseModel):
    source: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    preprocessor: Annotated[str, Field(max_length=64)]
    settings: Annotated[dict[str, float], Field(max_length=16)] = {}


def add_routes(app: FastAPI, engine: Engine) -> None:
    @app.get("/pictures/{name}")
    def picture(request: Request, name: str, s: str = "", download: bool = False, format: PictureFormat = "png") -> Response:  # pyright: ignore[reportUnusedFunction]
        """The original bytes, recipe and all, for whoever has the signed link; or another kind of file made of them.

        What is kept is one PNG: it alone is every pixel that was drawn. JPEG and WebP are made when they are asked for,
        so a picture is never two files that can differ, and a new kind of file works for old pictures too.
        """
        picture_id = name.removesuffix(".png")
        if (fresh := _renewed(engine.secret, picture_id, s, request, engine.picture)) is not None:
            return fresh
        try:
            found = engine.picture(picture_id)
        except NotFound as error:
            raise HTTPException(404, error.message) from error
        if not found.path.is_file():
            raise HTTPException(404, "The file of this picture is gone.")
        if format == "png":
            return FileResponse(found.path, media_type="image/png", headers=_FOREVER, filename=f"easel-{found.seed}.png" if download else None)
        try:
            content = engine.picture_file(picture_id, format)
        except EngineError as error:
            raise HTTPException(422, f"{error.message} {error.hint}") from error
        saved_as = {"Content-Disposition": f'attachment; filename="easel-{found.seed}.{format}"'} if download else {}
        return Response(content, media_type=f"image/{format}", headers={**_FOREVER, **saved_as})

    @app.get("/examples/{number}.jpg")
    def example(number: int) -> Response:  # pyright: ignore[reportUnusedFunction]
        """The picture of one of the example prompts. The number is a number: no name reaches the disk."""
        path = PRESETS / "examples" / f"{number}.jpg"
        if not path.is_file():
            raise HTTPException(404, "There is no such example.")
        return FileResponse(path, media_type="image/jpeg", headers={"Cache-Control": "public, max-age=3600"})

    @app.get("/inputs/{name}")
    def source(request: Request, name: str, s: str = "") -> Response:  # pyright: ignore[reportUnusedFunction]
        """A source or mask that somebody brought, for whoever has the signed link."""
        digest = name.removesuffix(".png")
        if (fresh := _renewed(engine.secret, digest, s, request, engine.input_image)) is not None:
            return fresh
        try:
            path = engine.input_path(digest)
        except NotFound as error:
            raise HTTPException(404, error.message) from error
        if not path.is_file():
            raise HTTPException(404, "This picture is not here any more.")
        return FileResponse(path, media_type="image/png", headers=_FOREVER)

    @app.post("/inputs")
    async def bring(request: Request, mask_of: str = "") -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """Keep a picture, a mask for the source `mask_of`, or a zip of pictures: the file is the body, as it is."""
        owner = page_owner(request)
        body = await _body(request)
        try:
            return JSONResponse(await run_in_threadpool(_keep, engine, body, owner, mask_of))
        except EngineError as error:
            return JSONResponse(error.to_plain(), 422)

    @app.post("/maps")
    async def make_map(request: Request, wanted: MapWanted) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """What a preprocessor sees in a source of the visitor's: a picture like any other."""
        owner = page_owner(request)
        try:
            made = await run_in_threadpool(engine.controls.map, wanted.source, wanted.preprocessor, wanted.settings, owner)
        except EngineError as error:
            return JSONResponse(error.to_plain(), 422)
        return JSONResponse(source_view(made, engine.secret))

    @app.get("/sheets/{name}")
    def sheet(name: str, request: Request, dataset: bool = False) -> Response:  # pyright: ignore[reportUnusedFunction]
        """The finished pictures of the visitor's own sheet as a zip."""
        # Written beside the answer, so that 64 pictures never lie in memory.
        target = tempfile.NamedTemporaryFile(suffix=".zip")  # noqa: SIM115
        try:
            engine.sheets.write(name.removesuffix(".zip"), cookie_owner(request), cast(BinaryIO, target), as_dataset=dataset)
        except NotFound as error:
            target.close()
            raise HTTPException(404, error.message) from error
        except EngineError as error:
            target.close()
            raise HTTPException(409, error.message) from error
        target.flush()
        saved_as = "easel-dataset.zip" if dataset else "easel-sheet.zip"
        return FileResponse(target.name, media_type="application/zip", filename=saved_as, background=BackgroundTask(target.close))


def _renewed(secret: bytes, name: str, signed: str, request: Request, owned: Callable[[str, str], object]) -> Response | None:
    """None for a link that is good; for one that has ended, a new one, if the visitor who asks owns what it leads to."""
    match judge(secret, name, signed):
        case "good":
            return None
        case "wrong":
            raise HTTPException(403, "This link is not valid.")
        case "stale":
            try:
                owned(name, cookie_owner(request))
            except (NotFound, HTTPException) as error:
                raise HTTPException(403, "This link has ended. Ask for a new one.") from error
            # Kept by no one: the same old link has to work again tomorrow.
            return RedirectResponse(
                str(request.url.include_query_params(s=sign(secret, name)).replace(scheme="", netloc="")), 307, {"Cache-Control": "no-store"}
            )


def _keep(engine: Engine, body: bytes, owner: str, mask_of: str) -> dict[str, Any]:
    if mask_of:
        return source_view(engine.add_mask(mask_of, body, owner), engine.secret)
    if body[:4] == b"PK\x03\x04":
        found = engine.add_folder(io.BytesIO(body), owner)
        return {"kind": "folder", "items": [one.model_dump(mode="json") for one in found]}
    # Read before it is kept: what is kept are its pixels only.
    carried = carried_view(engine, body, owner)
    return {**source_view(engine.add_input(body, owner), engine.secret), "settings": carried}


async def _body(request: Request) -> bytes:
    """The whole body, given up as soon as it grows too large."""
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > _BODY_MAX:
            raise HTTPException(413, f"This file is too large. Choose one of at most {_BODY_MAX // 1024**2} MB.")
    return bytes(parts)
