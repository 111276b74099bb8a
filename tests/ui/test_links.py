"""Links to pictures end; for whoever owns the picture they never seem to."""

from __future__ import annotations

import http.client
import time

from tests.studio import Studio
from tests.ui.test_routes import STRANGER, VISITOR, bring, call, png
from ui.links import judge, sign

SECRET = b"s" * 32
DAY_S = 24 * 3600


def test_a_link_is_good_for_half_a_day_at_least_and_a_day_at_most() -> None:
    now = time.time()
    assert judge(SECRET, "name", sign(SECRET, "name")) == "good"
    assert judge(SECRET, "name", sign(SECRET, "name", now - DAY_S / 2 + 60)) == "good"
    assert judge(SECRET, "name", sign(SECRET, "name", now - DAY_S)) == "stale"
    assert sign(SECRET, "name", 1_000_000) == sign(SECRET, "name", 1_000_000 + 60)


def test_nobody_makes_up_a_link_or_makes_one_live_longer() -> None:
    end, _, signature = sign(SECRET, "name").partition("-")
    later = f"{int(end, 16) + DAY_S:x}-{signature}"
    for wrong in (
        "",
        "-",
        "x-y",
        later,
        f"{end}-",
        f"{end}-{signature[:-1]}",
        f"{end}-{signature}0",
        f"{end}-{'ü' * 32}",
        "f" * 9000 + "-" + signature,
        "-1-" + signature,
    ):
        assert judge(SECRET, "name", wrong) == "wrong", wrong
    assert judge(SECRET, "other", f"{end}-{signature}") == "wrong"
    assert judge(b"t" * 32, "name", f"{end}-{signature}") == "wrong"


def test_a_stale_link_recovers_for_its_owner_and_for_nobody_else(studio: Studio) -> None:
    found = bring(studio, png())
    secret = (studio.data / "secret").read_bytes()
    stale = f"/inputs/{found['hash']}.png?s={sign(secret, found['hash'], time.time() - 7 * DAY_S)}"
    begin = time.perf_counter()
    status, content = call(studio, stale)
    print(f"a link of last week gives its picture after {1000 * (time.perf_counter() - begin):.0f} ms")
    assert status == 200
    assert content.startswith(b"\x89PNG")
    assert call(studio, stale, visitor=STRANGER)[0] == 403
    assert call(studio, stale, visitor=None)[0] == 403


def test_a_renewed_link_leads_to_this_studio_only(studio: Studio) -> None:
    found = bring(studio, png())
    secret = (studio.data / "secret").read_bytes()
    stale = f"/inputs/{found['hash']}.png?s={sign(secret, found['hash'], 0)}"

    line = http.client.HTTPConnection(studio.url.removeprefix("http://"), timeout=10)
    line.request("GET", stale, headers={"Cookie": f"easel_visitor={VISITOR}", "X-Forwarded-Host": "evil.example"})
    with line.getresponse() as answer:
        assert answer.status == 307
        assert (answer.headers["location"] or "").startswith("/inputs/")
        assert answer.headers["cache-control"] == "no-store"
    line.close()
