"""Reference pictures in the browser: what is dropped there leads the drawing, for as long and as much as it is told to."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import SHOTS
from tests.browser.hands import generate, picture_of, shown_picture, stage, tab, unfold, write
from tests.studio import Studio

pytestmark = pytest.mark.browser
# A red mushroom in a forest by day, drawn by the starter: a light and a palette that the words below do not bring by themselves.
REFERENCE = Path(__file__).parents[2] / "presets" / "examples" / "1.jpg"


def cards(page: Page) -> Locator:
    return page.locator("#references .card")


def unfold_references(page: Page) -> None:
    page.locator("#ctl-references .units-title").click()
    expect(cards(page)).to_have_count(1)


def give(page: Page, content: bytes, number: int = 0) -> None:
    cards(page).nth(number).locator("input[type=file]").set_input_files({"name": "mood.png", "mimeType": "image/png", "buffer": content})


def is_here(page: Page, number: int = 0) -> None:
    expect(cards(page).nth(number).get_by_alt_text("Reference")).to_be_visible()


def set_slider(page: Page, part: str, value: str) -> None:
    slider = page.locator(f"#references input[data-part={part}]").first
    slider.fill(value)
    slider.dispatch_event("change")


def keep_seed(page: Page, seed: str) -> None:
    """The same noise each time: only the reference makes a difference."""
    unfold(page, "Expert")
    page.locator("#ctl-seed input, #ctl-seed textarea").first.fill(seed)
    page.get_by_label("Keep this seed for the next picture").check()


def draw(page: Page, studio: Studio) -> Image.Image:
    before = page.locator(".stage-picture").get_attribute("src")
    generate(page)
    expect(page.locator(".stage-picture:not(.is-preview)")).not_to_have_attribute("src", before or "none", timeout=60_000)
    stage(page, "done")
    return shown_picture(page, studio)


def palette_gap(a: Image.Image, b: Image.Image) -> float:
    """Mean distance, 0 to 1 per channel, of 4 × 4 mean colours."""
    small = [cv2.resize(np.asarray(one.convert("RGB"), np.float32), (4, 4), interpolation=cv2.INTER_AREA) / 255 for one in (a, b)]
    return float(np.abs(small[0] - small[1]).mean())


def test_a_reference_leads_as_long_and_as_much_as_it_is_told_to(page: Page, studio: Studio) -> None:
    wanted = Image.open(io.BytesIO(REFERENCE.read_bytes()))
    write(page, "a robot", steps=10)
    keep_seed(page, "7")
    alone = draw(page, studio)
    unfold_references(page)
    give(page, REFERENCE.read_bytes())
    is_here(page)
    expect(page.locator("#ctl-references .units-title")).to_have_text("Reference pictures: 1 on")
    page.screenshot(path=SHOTS / "references-1440.png")
    led = draw(page, studio)
    set_slider(page, "To", "0.3")
    early = draw(page, studio)
    set_slider(page, "To", "1")
    page.locator("#references select[data-part=Takes]").select_option("style")
    styled = draw(page, studio)
    page.locator("#references [data-part=on]").uncheck()
    off = draw(page, studio)
    page.get_by_role("button", name="Remove reference 1").click()
    expect(cards(page)).to_have_count(0)
    gone = draw(page, studio)
    gaps = {name: round(palette_gap(one, wanted), 3) for name, one in {"alone": alone, "led": led, "early": early, "style": styled}.items()}
    print("palette gaps to the reference:", gaps)
    assert gaps["led"] < 0.6 * gaps["alone"]
    # The light and the palette, without the subject.
    assert gaps["style"] < 0.75 * gaps["alone"]
    # Each setting makes a picture of its own; off and removed are as if it had never been there.
    assert len({one.tobytes() for one in (alone, led, early, styled)}) == 4
    assert off.tobytes() == gone.tobytes() == alone.tobytes()


def test_references_survive_a_reload_and_come_back_with_reuse(page: Page) -> None:
    unfold_references(page)
    give(page, picture_of())
    is_here(page)
    set_slider(page, "Weight", "0.85")
    page.reload()
    expect(page.locator('.stage[data-loaded="yes"]')).to_be_visible()
    expect(page.locator("#ctl-references .units-title")).to_have_text("Reference pictures: 1 on")
    page.locator("#ctl-references .units-title").click()
    is_here(page)
    expect(page.locator("#references input[data-part=Weight]")).to_have_value("0.85")
    write(page, "a red castle", steps=4)
    generate(page)
    stage(page, "done")
    page.get_by_role("button", name="Remove reference 1").click()
    page.get_by_role("button", name="Reuse settings").click()
    is_here(page)
    expect(page.locator("#references input[data-part=Weight]")).to_have_value("0.85")


def test_a_result_becomes_a_reference_and_the_form_stays(page: Page) -> None:
    write(page, "a red castle in the desert at sunset", steps=4)
    generate(page)
    stage(page, "done")
    write(page, "a white ship", steps=4)
    for count in (1, 2, 3, 4):
        page.locator('.stage-actions [data-do="send"]').click()
        page.get_by_role("menuitem", name="Reference", exact=True).click()
        expect(cards(page)).to_have_count(count)
    is_here(page, 3)
    page.locator('.stage-actions [data-do="send"]').click()
    page.get_by_role("menuitem", name="Reference", exact=True).click()
    expect(page.locator(".toast-body")).to_contain_text("There are 4 reference pictures already")
    expect(cards(page)).to_have_count(4)
    expect(page.locator("#ctl-prompt textarea")).to_have_value("a white ship")
    # From the tab that takes no references, the first tab opens.
    page.get_by_role("button", name="Remove reference 4").click()
    tab(page, "Upscale")
    page.locator('.stage-actions [data-do="send"]').click()
    page.get_by_role("menuitem", name="Reference", exact=True).click()
    expect(cards(page)).to_have_count(4)
    expect(page.get_by_role("tab", name="Text", exact=True)).to_have_attribute("aria-selected", "true")


def test_what_is_no_picture_is_said_in_its_card(page: Page) -> None:
    unfold_references(page)
    give(page, b"<html>no picture</html>")
    expect(page.locator("#references .source-error")).to_contain_text("not a picture")
    give(page, picture_of())
    is_here(page)
    expect(page.locator("#references .source-error")).to_have_count(0)


def test_at_phone_width_cards_fit_and_can_be_touched(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    unfold_references(page)
    give(page, REFERENCE.read_bytes())
    is_here(page)
    page.locator("#ctl-references").scroll_into_view_if_needed()
    page.screenshot(path=SHOTS / "references-390.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for control in page.locator("#references button:visible").all():
        box = control.bounding_box()
        assert box is not None
        assert box["height"] >= 43.5
