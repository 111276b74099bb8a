"""Who may come in, and what every answer tells the browser."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from email.message import Message
from urllib.parse import quote

import pytest

from tests.faults.figures import Figures
from tests.library.test_hostile_names import PAYLOADS
from tests.studio import Studio
from ui.links import sign

VISITOR = "v" * 43


def call(studio: Studio, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, Message, bytes]:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    request = urllib.request.Request(studio.url + path, data=body, headers=named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


@pytest.mark.parametrize(
    "path", ["/", "/config", "/healthz", "/theme.css", "/pictures/x.png", "/inputs/x.png", "/sheets/x.zip", "/nothing", "/gradio_api/info"]
)
def test_every_answer_has_its_headers(studio: Studio, path: str) -> None:
    _, headers, _ = call(studio, path)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["x-frame-options"] == "SAMEORIGIN"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'self'" in policy
    assert len(headers.get_all("content-security-policy") or []) == 1


def test_the_page_runs_its_own_scripts_only(studio: Studio) -> None:
    _, headers, body = call(studio, "/")
    policy = headers["content-security-policy"]
    scripts = re.search(r"script-src ([^;]+)", policy)
    assert scripts
    assert "unsafe-inline" not in scripts[1]
    assert scripts[1].count("'sha256-") >= 2
    assert "http" not in policy
    assert b"<script" in body
    packed = call(studio, "/", Accept_Encoding="gzip")
    assert packed[1]["content-encoding"] == "gzip"
    print(f"the page is {len(body) / 1024:.0f} KB, packed {len(packed[2]) / 1024:.0f} KB")
    assert len(packed[2]) < len(body) / 2


@pytest.mark.parametrize(
    "path",
    ["/monitoring", "/monitoring/summary", "/gradio_api/proxy=https://example.com", "/gradio_api/file=https://example.com/x", "/gradio_api/file=/etc/passwd",
     "/gradio_api/upload_progress", "/gradio_api/vibe-code", "/gradio_api/runs", "/gradio_api/token", "/gradio_api/dev/reload", "/openapi.json",
     "/gradio_api/file=../../../etc/passwd", "/gradio_api/custom_component/a/b/c/d", "/gradio_api/file=%2e%2e/%2e%2e/etc/passwd"],
)  # fmt: skip
def test_what_the_page_does_not_need_is_closed(studio: Studio, path: str) -> None:
    status, _, body = call(studio, path)
    assert status in (403, 404)
    assert b"root:" not in body


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/component_server", "/gradio_api/vibe-edit", "/gradio_api/process_recording"])
def test_what_could_change_the_machine_is_closed(studio: Studio, path: str) -> None:
    assert call(studio, path, method="POST", body=b"{}", Content_Type="application/json")[0] == 404


CHANGES = ["/inputs", "/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/reset", "/gradio_api/cancel"]


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": "http://localhost.evil.example"},
     {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "cross-site", "Origin": "OWN"}],
)  # fmt: skip
def test_another_site_changes_nothing(studio: Studio, path: str, headers: dict[str, str]) -> None:
    sent = {key: studio.url if value == "OWN" else value for key, value in headers.items()}
    status, _, body = call(
        studio, path, method="POST", body=b"{}", Content_Type="application/json", Cookie=f"easel_visitor={VISITOR}", X_Easel="1", **sent
    )
    assert status == 403
    assert json.loads(body)["message"] == "This request comes from another site."


@pytest.mark.parametrize("path", CHANGES)
def test_only_what_is_expected_is_read(studio: Studio, path: str) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert call(studio, path, method="POST", body=b"x=1", Content_Type=kind, Origin=studio.url)[0] == 415


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/reset", "/gradio_api/cancel", "/inputs", "/logout"])
def test_nothing_changes_by_a_get(studio: Studio, path: str) -> None:
    assert call(studio, path)[0] in (404, 405)


@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.example", 403), ("127.0.0.1.evil.example", 403), ("localhost:7860", 200), ("[::1]:80", 200), ("studio.localhost", 200)],
)
def test_a_strangers_name_for_this_machine_is_not_answered(studio: Studio, host: str, status: int) -> None:
    assert call(studio, "/healthz", Host=host)[0] == status


@pytest.mark.fault("hostile names")
def test_no_address_leads_out(studio: Studio, figure: Figures) -> None:
    """Every hostile name in an address, signed as if it were ours: even then there is nothing behind it."""
    for number in ("secret", "secret.png"):
        (studio.data.parent / number).write_bytes(b"canary")
    secret, (host, port) = (studio.data / "secret").read_bytes(), studio.url.removeprefix("http://").split(":")
    line = http.client.HTTPConnection(host, int(port), timeout=30)
    statuses: set[int] = set()
    tried = 0
    for place in ("/pictures/", "/inputs/", "/sheets/"):
        for name in PAYLOADS:
            try:
                address = f"{place}{quote(name, safe='')}?s={sign(secret, name.removesuffix('.png'))}"
            except UnicodeEncodeError:
                continue
            line.request("GET", address, headers={"Cookie": f"easel_visitor={VISITOR}"})
            with line.getresponse() as answer:
                content = answer.read()
                statuses.add(answer.status)
            assert b"canary" not in content
            tried += 1
            assert answer.status in (307, 404, 405), (address, answer.status, content)
    line.close()
    print(f"answers: {sorted(statuses)}")
    figure("addresses", tried, at_least=600)
