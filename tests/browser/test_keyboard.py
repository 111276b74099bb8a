"""By keyboard alone: groups of chips behave as the platform's, what has the focus can be seen, and what is heard has a name."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SHOTS
from tests.browser.hands import stage, unfold

pytestmark = pytest.mark.browser

_HELD = "document.activeElement.value"
# Empty where what has the focus is outlined and not behind something else; else which it is.
_IS_SEEN = """() => {
  const at = document.activeElement, room = at.closest("label") || at, name = `${at.closest("[id]")?.id} ${at.className} ${at.tagName}`;
  if (at === document.body) return "";
  if (![at, room].some((one) => getComputedStyle(one).outlineStyle !== "none")) return `unmarked: ${name}`;
  const { left, top, width, height } = room.getBoundingClientRect(), seen = document.elementFromPoint(left + width / 2, top + height / 2);
  return seen && (room.contains(seen) || seen.contains(room)) ? "" : `hidden: ${name}`;
}"""


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


def test_the_page_begins_with_its_own_top_line_and_is_no_higher_than_the_window(page: Page) -> None:
    assert page.evaluate("document.querySelector('.top').getBoundingClientRect().top") == 0
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")


def test_from_the_first_word_to_the_file_and_back_to_its_settings_by_keys_alone(page: Page) -> None:
    """Tab, arrows, Enter and letters: write, draw, choose the result, look at what it can become, fetch it, take its settings. The focus is always seen."""

    def go(selector: str) -> None:
        """Tab until it has the focus; each stop on the way is marked, and in sight."""
        for _ in range(60):
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
            page.keyboard.press("Tab")
            assert page.evaluate(_IS_SEEN) == "", selector
        raise AssertionError(f"Tab does not come to {selector}")

    def shot(name: str) -> None:
        page.screenshot(path=SHOTS / f"keys-{name}.png")

    assert page.evaluate("document.activeElement === document.querySelector('#ctl-prompt textarea')")
    page.keyboard.type("a red castle on green hills by day")
    shot("prompt")
    go("#ctl-quality input")
    page.keyboard.press("Home")
    expect(page.locator("#ctl-steps input[type=number]")).to_have_value("4")
    shot("quality")
    go("#go")
    shot("generate")
    page.keyboard.press("Enter")
    stage(page, "done")
    go(".stage-actions [data-do=send]")
    page.keyboard.press("Enter")
    expect(page.get_by_role("menuitem", name="Image", exact=True)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("menuitem", name="Inpaint", exact=True)).to_be_focused()
    shot("menu")
    page.keyboard.press("Escape")
    expect(page.locator(".stage-actions [data-do=send]")).to_be_focused()
    go(".stage-actions [data-do=full]")
    page.keyboard.press("Enter")
    expect(page.locator(".stage-close")).to_be_focused()
    shot("full")
    assert page.evaluate("document.querySelector('.stage').getBoundingClientRect().height === innerHeight")
    page.keyboard.press("Enter")
    expect(page.locator(".stage-actions [data-do=full]")).to_be_focused()
    go("[data-do=download]")
    shot("download")
    with page.expect_download() as found:
        page.keyboard.press("Enter")
    assert found.value.suggested_filename.endswith(".png")
    go(".strip-open")
    shot("result")
    page.keyboard.press("Enter")
    # What was changed since comes back with the settings of the picture.
    steps = page.locator("#ctl-steps input[type=number]")
    page.evaluate("document.querySelector('#ctl-prompt textarea').focus()")
    go("#ctl-steps input[type=number]")
    page.keyboard.press("Control+A")
    page.keyboard.type("31")
    page.keyboard.press("Tab")
    expect(steps).to_have_value("31")
    go(".strip-tools button")
    shot("reuse")
    page.keyboard.press("Enter")
    expect(steps).to_have_value("4")
