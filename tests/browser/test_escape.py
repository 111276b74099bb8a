"""Escape closes whatever lies on top, that alone, and what opened it has the focus again. It stops no picture meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.hands import generate, picture_of, stage, tab, unfold, write

pytestmark = pytest.mark.browser

# As if a picture were being drawn: Stop is in sight, and whether it was pressed is counted.
_WATCH = """() => {
  document.body.toggleAttribute("data-running", true);
  window.stops = 0;
  window.addEventListener("easel:stop", (event) => { event.stopImmediatePropagation(); window.stops += 1; }, true);
}"""


def draw(page: Page) -> None:
    write(page, "a red castle on green hills", steps=2)
    generate(page)
    stage(page, "done")


def press(page: Page, selector: str) -> str:
    """Open by the button that has the focus, as by keyboard; returns what should have it again."""
    page.locator(selector).first.focus()
    page.keyboard.press("Enter")
    return selector


def open_keys(page: Page) -> tuple[str, str]:
    return "#keys", press(page, "#keys-open")


def open_keys_by_their_sign(page: Page) -> tuple[str, str]:
    page.locator("#theme-toggle").focus()
    page.keyboard.press("?")
    return "#keys", "#theme-toggle"


def open_about(page: Page) -> tuple[str, str]:
    return "#about", press(page, ".top-about")


def open_about_from_the_keys(page: Page) -> tuple[str, str]:
    opener = press(page, "#keys-open")
    press(page, "#keys [data-about]")
    return "#about", opener


def open_settings(page: Page) -> tuple[str, str]:
    return "#settings", press(page, "#settings-open")


def open_about_from_the_settings(page: Page) -> tuple[str, str]:
    opener = press(page, "#settings-open")
    press(page, "#settings [data-about]")
    return "#about", opener


def open_styles(page: Page) -> tuple[str, str]:
    return "#styles-prompt", press(page, "[data-control=prompt] .words-open")


def open_styles_and_click_into_them(page: Page) -> tuple[str, str]:
    found = open_styles(page)
    page.locator("#styles-prompt .styles-option").nth(1).click()
    return found


def open_styles_against(page: Page) -> tuple[str, str]:
    unfold(page, "What you do not want")
    return "#styles-negative_prompt", press(page, "[data-control=negative_prompt] .words-open")


def open_names(page: Page) -> tuple[str, str]:
    page.locator("#ctl-prompt textarea").focus()
    page.keyboard.type("a castle <")
    return "[data-control=prompt] .offers", "#ctl-prompt textarea"


def open_list(page: Page) -> tuple[str, str]:
    unfold(page, "Guidance style")
    page.locator("#ctl-guidance_style input").click()
    return "ul[role=listbox].option-list", "#ctl-guidance_style input"


def open_menu(page: Page) -> tuple[str, str]:
    draw(page)
    return ".stage-menu", press(page, "[data-do=send]")


def open_full_screen(page: Page) -> tuple[str, str]:
    draw(page)
    return ".stage.is-full", press(page, ".stage-actions [data-do=full]")


def choose_to_compare(page: Page) -> tuple[str, str]:
    draw(page)
    return "body.is-comparing", press(page, ".stage-actions [data-do=compare]")


def open_comparison(page: Page) -> tuple[str, str]:
    draw(page)
    draw(page)
    # What was done before says "done" too.
    expect(page.locator(".strip-list li")).to_have_count(2)
    opener = press(page, ".stage-actions [data-do=compare]")
    press(page, ".strip-list li:last-child .strip-open")
    return "#compare", opener


def open_large_picture(page: Page) -> tuple[str, str]:
    tab(page, "ControlNet")
    page.locator("#units .card-drop input[type=file]").first.set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": picture_of(64, 64)})
    page.locator("#units .card-thumb img[alt=Map]").wait_for()
    return ".card-large", press(page, "#units .card-thumb:has(img[alt=Source])")


def ask_to_destroy(page: Page) -> tuple[str, str]:
    draw(page)
    page.locator(".strip-delete").first.click()
    page.locator(".strip-bin").click()
    return ".strip-sure", press(page, ".strip-clear")


_LAYERS = (
    open_keys, open_keys_by_their_sign, open_about, open_about_from_the_keys, open_settings, open_about_from_the_settings, open_styles,
    open_styles_and_click_into_them, open_styles_against, open_names, open_list, open_menu, open_full_screen, choose_to_compare, open_comparison,
    open_large_picture, ask_to_destroy,
)  # fmt: skip


@pytest.mark.parametrize("open_it", _LAYERS, ids=lambda one: one.__name__)
def test_escape_closes_it_and_gives_the_focus_back(page: Page, open_it: Callable[[Page], tuple[str, str]]) -> None:
    layer, opener = open_it(page)
    expect(page.locator(layer)).to_be_visible()
    page.evaluate(_WATCH)
    page.keyboard.press("Escape")
    expect(page.locator(layer)).not_to_be_visible()
    expect(page.locator(opener).first).to_be_focused()
    assert page.evaluate("window.stops") == 0
    # With nothing left to close, it is Stop.
    page.evaluate("document.body.toggleAttribute('data-running', true)")
    page.keyboard.press("Escape")
    assert page.evaluate("window.stops") == 1


def test_one_escape_closes_one(page: Page) -> None:
    """Styles, over them the full screen, over that the keys."""
    draw(page)
    layers = ["#styles-prompt", ".stage.is-full", "#keys"]
    press(page, "[data-control=prompt] .words-open")
    press(page, ".stage-actions [data-do=full]")
    page.keyboard.press("?")
    page.evaluate(_WATCH)
    for left in (3, 2, 1, 0):
        for number, layer in enumerate(layers):
            expect(page.locator(layer)).to_be_visible(visible=number < left)
        assert page.evaluate("window.stops") == 0
        page.keyboard.press("Escape")
    assert page.evaluate("window.stops") == 1
