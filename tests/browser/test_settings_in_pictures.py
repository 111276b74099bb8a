"""A picture with settings is dropped: they are offered, taken over when asked for, and what is missing is listed."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import SHOTS
from tests.browser.hands import generate, picture_of, stage, tab, write
from tests.browser.test_sources import give

pytestmark = pytest.mark.browser

FOREIGN = (
    "a red castle <script>window.ran = 1</script>, (sunset:1.2) <lora:ink:0.8>\nNegative prompt: blurry\n"
    "Steps: 28, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 1234, Size: 256x256, Model: dreamy-v8, Clip skip: 2, ENSD: 31337"
)


def with_text(text: str) -> bytes:
    info, target = PngInfo(), io.BytesIO()
    info.add_text("parameters", text)
    Image.open(io.BytesIO(picture_of())).save(target, "PNG", pnginfo=info)
    return target.getvalue()


def offer(page: Page) -> Locator:
    return page.locator(".offer")


def test_on_the_text_tab_a_picture_of_ours_asks_first(page: Page) -> None:
    write(page, "a white lighthouse by the sea", steps=7)
    generate(page)
    stage(page, "done")
    seed = page.locator(".stage-facts").inner_text().split()[1]
    page.get_by_label("Kind of file").select_option("WebP")
    with page.expect_download() as download:
        page.locator('.stage-actions [data-do="download"]').click()
    assert download.value.suggested_filename.endswith(".webp")
    webp = download.value.path().read_bytes()
    assert webp[8:12] == b"WEBP"
    write(page, "something else", steps=20)
    give(page, "drop", webp)
    expect(offer(page)).to_contain_text("This picture carries its settings")
    expect(page.get_by_role("tab", name="Text", exact=True)).to_have_attribute("aria-selected", "true")
    page.screenshot(path=SHOTS / "settings-offered-1440.png")
    offer(page).get_by_role("button", name="Use them").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a white lighthouse by the sea")
    expect(page.locator("#ctl-steps input[type=number]")).to_have_value("7")
    expect(offer(page)).to_contain_text("The settings are in the form.")
    generate(page)
    stage(page, "done")
    expect(page.locator(".stage-facts")).to_contain_text(f"seed {seed} ·")


def test_it_may_be_a_source_all_the_same(page: Page) -> None:
    give(page, "drop", with_text(FOREIGN))
    offer(page).get_by_role("button", name="Start from it").click()
    expect(page.get_by_role("tab", name="Image", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator(".source-name")).to_have_text("256 × 256")


def test_another_programs_settings_fill_the_form_and_name_what_is_missing(page: Page) -> None:
    tab(page, "Image")
    give(page, "drop", with_text(FOREIGN))
    expect(page.locator(".source-name")).to_have_text("256 × 256")
    offer(page).get_by_role("button", name="Use them").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a red castle <script>window.ran = 1</script>, (sunset:1.2)")
    expect(offer(page)).to_contain_text("The model dreamy-v8 is not here.")
    expect(offer(page)).to_contain_text("ENSD: 31337 means nothing here.")
    expect(offer(page)).not_to_contain_text("Clip skip")
    expect(page.locator("#ctl-steps input[type=number]")).to_have_value("28")
    assert page.evaluate("window.ran") is None
    page.screenshot(path=SHOTS / "settings-taken-1440.png")
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator(".offer").scroll_into_view_if_needed()
    page.screenshot(path=SHOTS / "settings-taken-390.png")


def test_a_picture_without_settings_asks_nothing(page: Page) -> None:
    give(page, "drop", picture_of())
    expect(page.get_by_role("tab", name="Image", exact=True)).to_have_attribute("aria-selected", "true")
    expect(offer(page)).to_be_hidden()
