"""What the page says of the model: its card and the card of its data, for mouse, keyboard and thumb."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import SHOTS
from tests.browser.hands import generate, stage, write
from tests.conftest import STARTER

pytestmark = pytest.mark.browser


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog", name="About Easel starter")


def test_the_cards_of_model_and_data_are_on_the_page(page: Page) -> None:
    page.get_by_role("button", name="About this model").click()
    expect(dialog(page)).to_be_visible()
    page.screenshot(path=SHOTS / "about-1440.png")
    for words in ("What it was trained on", "What it cannot do", "no people", "Apache-2.0", "engine/starter/scenes.py", "--recipe starter-v1"):
        expect(dialog(page)).to_contain_text(words)
    for run in json.loads((STARTER / "easel.json").read_text(encoding="utf-8"))["training"]:
        expect(dialog(page)).to_contain_text(f"code at commit {run['commit']}")
        expect(dialog(page)).to_contain_text(f"{run['samples']:,} pictures seen")
    dialog(page).get_by_role("button", name="Close").click()
    expect(dialog(page)).to_be_hidden()


def test_esc_closes_it_stops_nothing_and_gives_the_keyboard_back(page: Page) -> None:
    write(page, "a red castle", steps=60)
    generate(page)
    stage(page, "drawing")
    opener = page.get_by_role("button", name="About this model")
    opener.focus()
    page.keyboard.press("Enter")
    expect(dialog(page)).to_be_visible()
    # The keys of the studio rest meanwhile: 2 is no tab here.
    page.keyboard.press("2")
    page.keyboard.press("Escape")
    expect(dialog(page)).to_be_hidden()
    expect(opener).to_be_focused()
    expect(page.get_by_role("tab", name="Text", exact=True)).to_have_attribute("aria-selected", "true")
    stage(page, "done")


def test_on_a_phone_it_is_behind_the_question_mark(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.get_by_role("button", name="About this model")).to_be_hidden()
    page.locator("#keys-open").click()
    page.get_by_role("button", name="About this model").click()
    expect(dialog(page)).to_be_visible()
    page.screenshot(path=SHOTS / "about-390.png")
    close = dialog(page).get_by_role("button", name="Close")
    box = close.bounding_box()
    assert box is not None
    assert box["height"] >= 43.5
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    close.click()
    expect(dialog(page)).to_be_hidden()
    expect(page.locator("#keys")).to_be_hidden()
