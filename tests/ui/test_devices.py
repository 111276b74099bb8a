"""From phone to desktop over HTTP: a code is good once and for its owner only, guessing is slow, and nobody is let in by accident."""

from __future__ import annotations

import http.cookiejar
import json
import re
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from tests.studio import Studio
from ui.throttle import Throttle, address_of


class Device:
    """A browser with a cookie of its own."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self.jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))
        self._opener.open(studio.url, timeout=30).close()

    @property
    def name(self) -> str | None:
        return next((one.value for one in self.jar if one.name == "easel_visitor"), None)

    def post(self, path: str, body: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
        named = {"Content-Type": "application/json", "X-Easel": "1"} | {key.replace("_", "-"): value for key, value in headers.items()}
        request = urllib.request.Request(self._studio.url + path, json.dumps(body).encode(), {key: value for key, value in named.items() if value})
        try:
            with self._opener.open(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def code(self) -> str:
        status, answer = self.post("/device/code", {})
        assert status == 200, answer
        return answer["code"]

    def join(self, code: str) -> tuple[int, dict[str, Any]]:
        return self.post("/device/join", {"code": code})


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Studio]:
    """A studio of its own: what is guessed at it slows nobody else down."""
    with Studio(tmp_path) as running:
        yield running


def test_a_code_makes_another_device_the_same_visitor(studio: Studio) -> None:
    desk, phone = Device(studio), Device(studio)
    assert desk.name != phone.name
    status, answer = phone.join(desk.code().lower())
    assert status == 200, answer
    assert phone.name == desk.name
    cookie = next(one for one in phone.jar if one.name == "easel_visitor")
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "Lax"
    # The cookie is in the header only: a script of the page never sees the name.
    assert desk.name not in json.dumps(answer)


def test_wrong_used_and_old_codes_are_refused_alike(quiet: Studio) -> None:
    desk, phone = Device(quiet), Device(quiet)
    before = phone.name
    used, replaced = desk.code(), None
    assert Device(quiet).join(used)[0] == 200
    replaced = desk.code()
    old = desk.code()
    with closing(sqlite3.connect(quiet.data / "easel.db")) as db, db:
        db.execute("UPDATE codes SET until = until - 181")
    answers = [phone.join(code) for code in ("ABCD EFGH", used, replaced, old, "", "x" * 64)]
    assert {status for status, _ in answers} == {422}
    assert len({answer["message"] for _, answer in answers}) == 1
    assert "wrong, used, or more than three minutes old" in answers[0][1]["message"]
    assert phone.name == before
    assert phone.join("x" * 65)[0] == 422


def test_guessing_is_stopped_and_a_right_code_waits_too(quiet: Studio) -> None:
    desk, thief = Device(quiet), Device(quiet)
    code = desk.code()
    found = [thief.join(f"AAAA AA{letter}{letter}")[0] for letter in "ABCDEFGHJKMNPQ"]
    print(f"answers to 14 guesses: {found}")
    assert found == [422] * 10 + [429] * 4
    # A new cookie is not a new address, and the right code is not even looked at.
    status, answer = Device(quiet).join(code)
    assert status == 429
    assert re.search(r"Wait [56] min", answer["hint"])
    with closing(sqlite3.connect(quiet.data / "easel.db")) as db:
        assert db.execute("SELECT count(*) FROM codes").fetchone() == (1,)


def test_codes_cannot_be_made_without_end(quiet: Studio) -> None:
    device = Device(quiet)
    found = [device.post("/device/code", {})[0] for _ in range(32)]
    assert found == [200] * 30 + [429] * 2


def test_another_site_gets_no_code_and_enters_none(studio: Studio) -> None:
    desk = Device(studio)
    for path, body in (("/device/code", {}), ("/device/join", {"code": "ABCD EFGH"})):
        assert desk.post(path, body, X_Easel="")[0] == 403
        assert desk.post(path, body, Origin="https://evil.example")[0] == 403
        assert desk.post(path, body, Sec_Fetch_Site="cross-site")[0] == 403
        assert desk.post(path, body, Content_Type="text/plain")[0] == 415
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(studio.url + path, timeout=10)
        assert caught.value.code in (403, 404, 405)
        caught.value.close()
    assert desk.post("/device/code", {}, Cookie="easel_visitor=short")[0] == 403


def test_one_household_of_ipv6_is_one_address() -> None:
    def of(host: str) -> str:
        return address_of(Request({"type": "http", "headers": [], "client": (host, 1)}))

    assert of("2001:db8:1:2::1") == of("2001:db8:1:2:ffff::9")
    assert of("2001:db8:1:2::1") != of("2001:db8:1:3::1")
    assert of("192.0.2.1") != of("192.0.2.2")
    assert of("a-pipe") == "a-pipe"


def test_many_addresses_together_are_slowed_too() -> None:
    throttle = Throttle(by_address=10, by_name=300)
    for number in range(300):
        assert throttle.wait_s(f"192.0.2.{number}", "everybody") == 0
        throttle.failed(f"192.0.2.{number}", "everybody")
    assert throttle.wait_s("198.51.100.7", "everybody") > 0
