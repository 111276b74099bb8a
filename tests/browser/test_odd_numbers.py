"""Numbers that cannot be, as they come up while somebody types: the control says so, and the console stays silent."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SHOTS
from tests.browser.hands import asked, unfold

pytestmark = pytest.mark.browser
_IS_ON_TOP = "(one) => { const { x, y, height } = one.getBoundingClientRect(); return document.elementFromPoint(x + 4, y + height - 4) === one; }"


@pytest.mark.parametrize("width", [1440, 390])
def test_an_odd_width_is_explained_at_its_field_without_an_error_in_the_console(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    errors: list[str] = []
    page.on("console", lambda message: errors.append(f"{message.text} {message.location}") if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    unfold(page, "Expert")
    for name in ("width", "height"):
        field, note = page.locator(f"#ctl-{name} :is(input, textarea)"), page.locator(f"#ctl-{name} .field-note")
        for odd in ("1", "513", "wide", "-64", "1e9", "99999"):
            with page.expect_response("**/live/plan"):
                field.fill(odd)
            expect(note).to_contain_text(f"cannot be '{odd}'. Choose 64 to 2048 pixels, in steps of 8.")
            expect(field).to_have_attribute("aria-invalid", "true")
            # Nothing lies over it.
            assert note.evaluate(_IS_ON_TOP)
        page.screenshot(path=SHOTS / f"odd-{name}-{width}.png")
        for fine in ("128", ""):
            field.fill(fine)
            expect(note).to_have_count(0)
            expect(field).not_to_have_attribute("aria-invalid", "true")
    for name, pairs in {
        "steps": (("99999", "200"), ("", "200"), ("0", "1"), ("-3", "1")),
        "guidance_scale": (("0", "1"), ("", "1"), ("1000", "15")),
    }.items():
        number = page.locator(f"#ctl-{name} input[type=number]")
        for odd, kept in pairs:
            number.fill(odd)
            # Long enough for what follows a change to be asked.
            page.wait_for_timeout(400)
            number.press("Tab")
            expect(number).to_have_value(kept)
    # What the server was asked last has been answered by now.
    with page.expect_response("**/live/plan"):
        page.locator("#ctl-steps input[type=number]").fill("9")
    assert errors == []
    assert asked(page)("Control+Enter")["steps"] == 9


def test_what_cannot_be_seen_is_said_where_it_can(page: Page) -> None:
    """With the fold closed there is no field to say it at."""
    unfold(page, "Expert")
    page.locator("#ctl-width :is(input, textarea)").fill("513")
    expect(page.locator("#ctl-width .field-note")).to_be_visible()
    page.get_by_role("button", name="Expert").click()
    page.locator("#ctl-steps input[type=number]").fill("21")
    page.locator("#ctl-steps input[type=number]").press("Tab")
    expect(page.locator("#advice")).to_contain_text("Width cannot be '513'")
