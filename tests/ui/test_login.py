"""A studio with a file of people: nothing without signing in, guessing is slow, and a person is one visitor everywhere."""

from __future__ import annotations

import base64
import contextlib
import http.cookiejar
import io
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client

from engine import InvalidRequest, People
from engine.__main__ import main
from engine.library.passwords import hashed_line
from tests.studio import ROOT, Studio
from ui.throttle import Throttle

PASSWORD = "correct horse 🐴"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("locked")
    (folder / "people").write_text(f"# who may come\n{hashed_line('ada', PASSWORD)}\n{hashed_line('bob', 'another password')}\n", encoding="utf-8")
    with Studio(folder / "data", "--auth-file", str(folder / "people")) as running:
        running.wait_ready()
        yield running


class Browser:
    """Keeps cookies, follows nothing."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self.jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar), _Stay())

    def call(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str, bytes]:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        try:
            with self._opener.open(urllib.request.Request(self._studio.url + path, body, named), timeout=30) as answer:
                return answer.status, answer.headers.get("location") or "", answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers.get("location") or "", error.read()

    def sign_in(self, name: str, password: str) -> int:
        return self.call("/login", urllib.parse.urlencode({"name": name, "password": password}).encode())[0]


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:  # type: ignore[override]
        return None


def test_a_stranger_gets_the_sign_in_page_and_nothing_else(locked: Studio) -> None:
    browser = Browser(locked)
    assert browser.call("/")[:2] == (303, "/login")
    assert b"Sign in" in browser.call("/login")[2]
    for path in (
        "/config",
        "/theme.css",
        "/gradio_api/info",
        "/pictures/x.png",
        "/assets/x.js",
        "//",
        "/login/../config",
        "/healthz/x",
        "/?x=/login",
    ):
        assert browser.call(path)[0] in (303, 401), path
    assert browser.call("/gradio_api/queue/join", b"{}", Content_Type="application/json")[0] == 401
    assert browser.call("/healthz")[0] == 200


def test_signing_in_and_out(locked: Studio) -> None:
    browser = Browser(locked)
    assert browser.sign_in("ada", "wrong") == 401
    assert browser.sign_in("ada", PASSWORD) == 303
    assert browser.call("/")[0] == 200
    cookie = next(one for one in browser.jar if one.name == "easel_session")
    assert cookie.has_nonstandard_attr("HttpOnly")
    for wrong in (f"{cookie.value}0", "bob" + cookie.value.removeprefix("ada"), "ada/99999999999/x", "ada//", "", "x" * 9000):
        assert Browser(locked).call("/config", Cookie=f"easel_session={wrong}")[0] == 401
    assert browser.call("/logout", b"", Content_Type="application/json")[0] == 303
    assert browser.call("/")[0] == 303


def test_another_site_signs_nobody_in(locked: Studio) -> None:
    body = urllib.parse.urlencode({"name": "ada", "password": PASSWORD}).encode()
    assert Browser(locked).call("/login", body, Origin="https://evil.example")[0] == 403


def test_a_person_is_one_visitor_on_every_device(locked: Studio) -> None:
    found = []
    for _ in range(2):
        browser = Browser(locked)
        browser.sign_in("ada", PASSWORD)
        found.append(browser)
    target = (ROOT / "presets" / "examples" / "1.jpg").read_bytes()
    status, _, _ = found[0].call("/inputs", target, Content_Type="application/octet-stream", X_Easel="1")
    assert status == 200
    found[1].call("/inputs", target, Content_Type="application/octet-stream", X_Easel="1")
    assert len(_owners(locked)) == 1
    bob = Browser(locked)
    bob.sign_in("bob", "another password")
    session = next(one.value for one in bob.jar if one.name == "easel_session")
    # Whatever visitor's cookie the browser sends, the person counts.
    both = f"easel_visitor={'v' * 43}; easel_session={session}"
    assert bob.call("/inputs", target, Content_Type="application/octet-stream", X_Easel="1", Cookie=both)[0] == 200
    assert len(_owners(locked)) == 2
    assert not any("v" * 43 in owner for owner in _owners(locked))


def _owners(studio: Studio) -> set[str]:
    with contextlib.closing(sqlite3.connect(studio.data / "easel.db")) as db:
        return {row[0] for row in db.execute("select distinct owner from inputs")}


def test_a_program_signs_in_with_each_request(locked: Studio) -> None:
    given = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
    client = Client(locked.url, verbose=False, headers={"Authorization": f"Basic {given}"})
    last = list(client.submit("a castle", steps=2, width=64, height=64, api_name="/txt2img"))[-1]
    assert last["state"] == "done"


def test_guessing_is_stopped(locked: Studio) -> None:
    codes = [Browser(locked).sign_in("carol", f"guess number {number}") for number in range(14)]
    print(f"answers to 14 guesses: {codes}")
    assert codes.count(401) <= 10
    assert codes[-1] == 429
    # Whoever is signed in is not disturbed, and the right password waits its turn too.
    assert Browser(locked).sign_in("ada", PASSWORD) == 429


def test_the_throttle_forgets_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    throttle = Throttle(by_address=10, by_name=30)
    for number in range(10_000):
        throttle.failed(f"10.0.{number // 250}.{number % 250}", "ada")
    assert len(throttle._failures) <= 4096
    assert throttle.wait_s("192.0.2.1", "ada") > 0
    now = time.monotonic()
    monkeypatch.setattr("ui.throttle.time.monotonic", lambda: now + 301)
    assert throttle.wait_s("192.0.2.1", "ada") == 0


def test_the_file_holds_no_password_and_two_lines_differ(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one, two = hashed_line("ada", PASSWORD), hashed_line("ada", PASSWORD)
    assert PASSWORD not in one
    assert one != two
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD + "\n"))
    assert main(["password", "ada"]) == 0
    (tmp_path / "people").write_text(capsys.readouterr().out, encoding="utf-8")
    people = People(tmp_path / "people")
    assert people.is_right("ada", PASSWORD)
    for name, word in (("ada", PASSWORD + " "), ("ada", ""), ("Ada", PASSWORD), ("nobody", PASSWORD), ("", "")):
        assert not people.is_right(name, word)


@pytest.mark.parametrize("text", ["", "ada:secret", "ada:scrypt$2$8$1$AAAA$AAAA", "a b:" + hashed_line("x", PASSWORD)[2:], "# only words"])
def test_a_file_that_is_no_list_of_people_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "people").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidRequest, match="no list of people"):
        People(tmp_path / "people")


@pytest.mark.parametrize("password", ["", "short", "x" * 257])
def test_passwords_that_are_none(password: str) -> None:
    with pytest.raises(InvalidRequest, match="password"):
        hashed_line("ada", password)


def test_a_studio_with_a_damaged_file_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "people").write_text("ada:secret", encoding="utf-8")
    command = [sys.executable, "-W", "ignore", "app.py", "--data", str(tmp_path / "data"), "--auth-file", str(tmp_path / "people"), "--port", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "no list of people" in done.stderr
    assert "Traceback" not in done.stderr
