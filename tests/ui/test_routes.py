"""Pictures in and out over plain HTTP: who may, and what is refused."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
import zipfile
from typing import Any

import pytest
from PIL import Image

from tests.studio import Studio

VISITOR = "v" * 43
STRANGER = "w" * 43


def png(width: int = 64, height: int = 48) -> bytes:
    target = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(target, "PNG")
    return target.getvalue()


def call(
    studio: Studio,
    path: str,
    body: bytes | None = None,
    *,
    visitor: str | None = VISITOR,
    header: bool = True,
    kind: str = "application/octet-stream",
) -> tuple[int, bytes]:
    headers = {"Content-Type": kind}
    if visitor:
        headers["Cookie"] = f"easel_visitor={visitor}"
    if header:
        headers["X-Easel"] = "1"
    try:
        with urllib.request.urlopen(urllib.request.Request(studio.url + path, data=body, headers=headers), timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def bring(studio: Studio, body: bytes, path: str = "/inputs") -> dict[str, Any]:
    status, content = call(studio, path, body)
    assert status == 200, content
    return json.loads(content)


def test_a_picture_goes_in_and_comes_out_by_its_signed_link(studio: Studio) -> None:
    found = bring(studio, png())
    assert (found["kind"], found["width"], found["height"]) == ("picture", 64, 48)
    status, content = call(studio, found["url"], visitor=None, header=False)
    assert status == 200
    assert Image.open(io.BytesIO(content)).size == (64, 48)
    path, signature = found["url"].split("?s=")
    for wrong in ("", "0" * 32, signature[:-1]):
        assert call(studio, f"{path}?s={wrong}")[0] == 403
    assert call(studio, f"/inputs/..%2f..%2feasel.db?s={signature}")[0] in (403, 404)


def test_a_mask_belongs_to_a_source_of_ones_own(studio: Studio) -> None:
    source = bring(studio, png())
    mask = bring(studio, png(), f"/inputs?mask_of={source['hash']}")
    assert mask["width"] == 64
    status, content = call(studio, f"/inputs?mask_of={source['hash']}", png(32, 32))
    assert status == 422
    assert json.loads(content)["field"] == "mask"
    assert call(studio, f"/inputs?mask_of={source['hash']}", png(), visitor=STRANGER)[0] == 422


def test_a_zip_is_a_folder_with_reasons(studio: Studio) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a.png", png())
        archive.writestr("b.png", b"nothing")
    found = bring(studio, target.getvalue())
    assert found["kind"] == "folder"
    assert [bool(one["image"]) for one in found["items"]] == [True, False]


@pytest.mark.parametrize(
    ("visitor", "header", "status"),
    [(VISITOR, False, 403), (None, True, 403), ("short", True, 403), ("x" * 43 + "; ../", True, 200)],
)
def test_only_the_page_of_a_visitor_may_bring_pictures(studio: Studio, visitor: str | None, header: bool, status: int) -> None:
    assert call(studio, "/inputs", png(), visitor=visitor, header=header)[0] == status


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"<svg onload=alert(1)>", png()[:60], b"PK\x03\x04"])
def test_what_is_no_picture_is_refused_in_words(studio: Studio, body: bytes) -> None:
    status, content = call(studio, "/inputs", body or b" ")
    assert status == 422
    answer = json.loads(content)
    assert answer["field"] == "source"
    assert answer["message"]


def test_a_body_without_end_is_given_up(studio: Studio) -> None:
    # The server answers before it has read everything; a client that goes on sending may see only a closed line.
    try:
        assert call(studio, "/inputs", bytes(200 * 1024 * 1024))[0] == 413
    except (urllib.error.URLError, ConnectionError) as error:
        print(f"the line was closed: {error}")
    assert studio.health()["status"] == "ok"


@pytest.mark.parametrize("name", ["0" * 32, "nothing", "..%2f..%2feasel"])
def test_a_sheet_of_somebody_else_is_not_there(studio: Studio, name: str) -> None:
    assert call(studio, f"/sheets/{name}.zip")[0] == 404
    assert call(studio, f"/sheets/{name}.zip", visitor=None)[0] in (403, 404)
