"""By keyboard alone: groups of chips behave as the platform's, what has the focus can be seen, and what is heard has a name."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.hands import unfold

pytestmark = pytest.mark.browser

_HELD = "document.activeElement.value"


def test_arrows_home_and_end_choose_within_a_row_of_chips(page: Page) -> None:
    sizes = page.get_by_role("radiogroup", name="Size")
    sizes.get_by_role("radio", name="256 × 256").focus()
    for key, chosen in (
        ("ArrowRight", "320 × 256"),
        ("ArrowDown", "256 × 320"),
        ("ArrowLeft", "320 × 256"),
        ("End", "192 × 192"),
        ("Home", "256 × 256"),
    ):
        page.keyboard.press(key)
        expect(sizes.get_by_role("radio", name=chosen)).to_be_checked()
        assert page.evaluate(_HELD) == chosen, key
    # The framework has written the group anew by now; it is one group still, and one stop.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('[role=radiogroup]').ariaLabel") == "How many"
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radiogroup", name="How many").get_by_role("radio", name="2", exact=True)).to_be_checked()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(_HELD) == "256 × 256"
    # In a fold too, which comes later.
    unfold(page, "More at once")
    page.get_by_role("radio", name="One job").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#ctl-vary_x_values")).to_be_visible()


def test_the_way_to_generate_is_short_and_can_be_seen(page: Page) -> None:
    """The page begins in the prompt; from its top it is a few stops away, and each stop is marked."""
    assert page.evaluate("document.activeElement === document.querySelector('#ctl-prompt textarea')")
    page.evaluate("() => { document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex'); }")
    stops: list[str] = []
    unmarked: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        name, is_marked = page.evaluate(
            """() => { const at = document.activeElement, room = at.closest("label") || at;
              return [at.closest("[id]").id, [at, room].some((one) => getComputedStyle(one).outlineStyle === "solid")]; }"""
        )
        stops.append(name)
        if not is_marked:
            unmarked.append(name)
        if name == "go":
            break
    assert unmarked == []
    assert stops.index("ctl-prompt") < 8
    assert stops.index("go") < 26, stops


def test_signs_have_names_that_can_be_heard(page: Page) -> None:
    for name in ("Undo in the form", "Redo in the form", "Light or dark", "Settings", "Keyboard shortcuts", "About this model"):
        expect(page.get_by_role("button", name=name, exact=True).first).to_be_attached()
