"""Short codes for a second device: once, for three minutes, hashed at rest; and what comes along."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import Busy, Engine, NotFound, TextToImage
from engine.library.codes import LENGTH, LETTERS, plain
from tests.conftest import OWNER, events_of

Make = Callable[..., TextToImage]
PHONE = "visitor-phone"


def test_a_code_works_once_however_it_is_typed(inline_engine: Engine) -> None:
    code = inline_engine.device_code(OWNER)
    assert len(plain(code.text)) == LENGTH
    assert inline_engine.use_device_code(f" {code.text.lower().replace(' ', '-')} ", PHONE, brings=False) == OWNER
    with pytest.raises(NotFound, match="wrong, used"):
        inline_engine.use_device_code(code.text, PHONE, brings=False)


def test_a_new_code_ends_the_one_before(inline_engine: Engine) -> None:
    old, new = inline_engine.device_code(OWNER), inline_engine.device_code(OWNER)
    other = inline_engine.device_code("visitor-other")
    with pytest.raises(NotFound):
        inline_engine.use_device_code(old.text, PHONE, brings=False)
    assert inline_engine.use_device_code(new.text, PHONE, brings=False) == OWNER
    assert inline_engine.use_device_code(other.text, PHONE, brings=False) == "visitor-other"


def test_an_old_code_is_none(inline_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    code, now = inline_engine.device_code(OWNER), time.time()
    assert code.seconds == 180
    monkeypatch.setattr("engine.library.codes.time.time", lambda: now + code.seconds + 1)
    with pytest.raises(NotFound):
        inline_engine.use_device_code(code.text, PHONE, brings=False)


@pytest.mark.parametrize("text", ["", " ", "AAAA", "0000 0000", "' OR 1=1 --", "A" * 100_000, "ÄÖÜß" * 4, "\x00" * 8, "ABCD EFGH"])
def test_what_is_no_code(inline_engine: Engine, text: str) -> None:
    inline_engine.device_code(OWNER)
    with pytest.raises(NotFound):
        inline_engine.use_device_code(text, PHONE, brings=False)


def test_the_database_does_not_hold_the_code(inline_engine: Engine, tmp_path: Path) -> None:
    code = inline_engine.device_code(OWNER)
    for path in tmp_path.glob("easel.db*"):
        content = path.read_bytes()
        assert plain(code.text).encode() not in content
        assert code.text.encode() not in content
    db = sqlite3.connect(tmp_path / "easel.db")
    ((digest,),) = db.execute("SELECT digest FROM codes").fetchall()
    db.close()
    assert len(digest) == 64


def test_codes_are_long_enough_not_to_be_guessed(inline_engine: Engine) -> None:
    assert len(LETTERS) ** LENGTH > 2**39
    assert not set(LETTERS) & set("01ILO")
    assert len({inline_engine.device_code(f"visitor-{number}").text for number in range(50)}) == 50


def test_of_many_who_come_at_once_one_gets_in(inline_engine: Engine) -> None:
    code, inside, start = inline_engine.device_code(OWNER), [], threading.Barrier(8)

    def come() -> None:
        start.wait()
        with contextlib.suppress(NotFound):
            inside.append(inline_engine.use_device_code(code.text, PHONE, brings=False))

    crowd = [threading.Thread(target=come) for _ in range(8)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert inside == [OWNER]


def test_what_the_device_has_comes_along_when_that_is_wanted(inline_engine: Engine, request_of: Make) -> None:
    source = (Path(__file__).parents[2] / "presets" / "examples" / "1.jpg").read_bytes()
    for owner in (OWNER, PHONE):
        events_of(inline_engine, inline_engine.submit(request_of(steps=1), owner).id, owner)
        inline_engine.add_input(source, owner)
    sheet = inline_engine.sheets.dataset({"prompt": "a {red|blue} ship", "steps": 1, "width": 64, "height": 64}, PHONE)
    code = inline_engine.device_code(OWNER)
    with pytest.raises(Busy, match="still open"):
        inline_engine.use_device_code(code.text, PHONE, brings=True)
    for cell in sheet.cells:
        events_of(inline_engine, cell.job_id or "", PHONE)
    # Being told to wait did not use the code up.
    assert inline_engine.use_device_code(code.text, PHONE, brings=True) == OWNER
    assert inline_engine.tray(OWNER).shelf == 4
    assert inline_engine.tray(PHONE).shelf == 0
    assert inline_engine.sheets.cells(inline_engine.sheets.get(sheet.id, OWNER))[0].state == "done"
    with pytest.raises(NotFound):
        inline_engine.sheets.get(sheet.id, PHONE)


def test_without_that_wish_it_stays(inline_engine: Engine, request_of: Make) -> None:
    events_of(inline_engine, inline_engine.submit(request_of(steps=1), PHONE).id, PHONE)
    assert inline_engine.use_device_code(inline_engine.device_code(OWNER).text, PHONE, brings=False) == OWNER
    assert (inline_engine.tray(OWNER).shelf, inline_engine.tray(PHONE).shelf) == (0, 1)
