"""What the framework tells in a corner: bounded, clear of Generate, and gone by touch or by Escape."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import SHOTS
from tests.browser.hands import generate

pytestmark = pytest.mark.browser


def tell(page: Page, count: int) -> None:
    """Make the server fail for a while, in long sentences."""
    told: list[str] = []

    def fail(route: Route) -> None:
        told.append(f"Trouble {len(told) + 1}. " + "It broke in the middle of the work, and this says so at length, with what to do next. " * 6)
        route.fulfill(status=500, content_type="application/json", body=json.dumps({"detail": told[-1]}))

    page.locator("#ctl-prompt textarea").fill("a red castle")
    page.route("**/queue/join*", fail)
    for number in range(1, count + 1):
        generate(page)
        page.get_by_text(f"Trouble {number}.").wait_for(state="attached")


def box(page: Page, selector: str) -> tuple[float, float, float, float]:
    found = page.locator(selector).bounding_box()
    assert found is not None
    return found["x"], found["y"], found["width"], found["height"]


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_many_troubles_leave_generate_free(page: Page, width: int, theme: str) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.evaluate("(isDark) => document.body.classList.toggle('dark', isDark)", theme == "dark")
    tell(page, 5)
    shown = [one for one in page.locator(".toast-message-item").all() if one.is_visible()]
    assert [one.inner_text()[:10] for one in shown] == ["Trouble 4.", "Trouble 5."]
    x, y, _, height = box(page, ".toast-body")
    assert x >= 0
    assert y >= 0
    assert y + height < 844 / 2 < box(page, "#go")[1]
    page.screenshot(path=SHOTS / f"troubles-{width}-{theme}.png")
    if width == 390:
        assert min(box(page, ".toast-close")[2:]) >= 44
    page.locator(".toast-close").click()
    expect(page.locator(".toast-body")).to_have_count(0)


def test_escape_takes_away_what_was_told_and_stops_nothing(page: Page) -> None:
    tell(page, 1)
    page.evaluate(
        """() => { document.body.toggleAttribute("data-running", true);
          window.addEventListener("easel:stop", (event) => { event.stopImmediatePropagation(); window.stopped = true; }, true); }"""
    )
    page.keyboard.press("Escape")
    expect(page.locator(".toast-body")).to_have_count(0)
    assert not page.evaluate("window.stopped")
