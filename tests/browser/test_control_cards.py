"""The ControlNet tab: from a picture to a map to a drawing that follows it; and reference pictures beside it."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import SHOTS
from tests.browser.hands import generate, picture_of, refused, send, shown_picture, stage, tab, unfold, write
from tests.studio import Studio

pytestmark = pytest.mark.browser
EXAMPLE = Path(__file__).parents[2] / "presets" / "examples" / "11.jpg"


def give_unit(page: Page, content: bytes, number: int = 0) -> None:
    card = page.locator("#units .card").nth(number)
    card.locator("input[type=file]").set_input_files({"name": "sketch.png", "mimeType": "image/png", "buffer": content})


def map_is_here(page: Page, number: int = 0) -> None:
    expect(page.locator("#units .card").nth(number).locator("img[alt=Map]")).to_be_visible(timeout=60_000)


def edges(image: Image.Image) -> np.ndarray:
    return cv2.Canny(np.asarray(image.convert("L")), 100, 200) > 0


def share_followed(made: Image.Image, wanted: Image.Image) -> float:
    """How much of the wanted edges has an edge of the made picture within three pixels."""
    near = cv2.dilate(edges(made).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    lines = edges(wanted)
    return float((near & lines).sum() / max(lines.sum(), 1))


def test_a_card_from_picture_to_map_to_drawing(page: Page, studio: Studio) -> None:
    # A lighthouse on the right of a picture of the starter's own: the words below say nothing about where.
    sketch = EXAMPLE.read_bytes()
    tab(page, "ControlNet")
    expect(page.locator("#units .card")).to_have_count(1)
    give_unit(page, sketch)
    map_is_here(page)
    page.screenshot(path=SHOTS / "control-1440.png")
    write(page, "a red lighthouse", steps=12)
    # One seed for both: by chance alone a lighthouse may stand where the map has it.
    unfold(page, "Expert")
    page.locator("#ctl-seed input").fill("3")
    page.get_by_label("Keep this seed for the next picture").check()
    generate(page)
    stage(page, "done")
    expect(page.locator(".stage-facts")).to_contain_text("seed 3 ")
    wanted = Image.open(io.BytesIO(sketch))
    led = share_followed(shown_picture(page, studio), wanted)
    # Off and on: the same words without the unit go their own way.
    page.locator("#units [data-part=on]").uncheck()
    generate(page)
    refused(page, "No unit has a picture")
    tab(page, "Text")
    generate(page)
    # The stage has kept the first picture: the second one is in the results when it is done.
    expect(page.locator(".strip-list li")).to_have_count(2, timeout=60_000)
    stage(page, "done")
    expect(page.locator(".stage-facts")).to_contain_text("seed 3 ")
    alone = share_followed(shown_picture(page, studio), wanted)
    print(f"edges followed: {led:.2f} with the unit, {alone:.2f} without")
    assert led > alone + 0.15


def test_generate_answers_while_the_map_is_made_and_can_be_taken_back(page: Page) -> None:
    held: list[Route] = []
    page.route("**/maps", lambda route: held.append(route))
    tab(page, "ControlNet")
    give_unit(page, picture_of())
    expect(page.locator("#units figure[aria-busy=true]")).to_be_visible()
    write(page, "a red tower", steps=2)
    generate(page)
    refused(page, "Making the map, then drawing. Stop takes it back.")
    page.locator("#halt").click()
    refused(page, "Taken back: nothing is drawn.")
    expect(page.locator("#halt")).to_be_hidden()
    generate(page)
    refused(page, "Making the map, then drawing")
    # Nothing is asked of the engine before the map is here.
    expect(page.locator(".stage-example").first).to_be_visible()
    held.pop().continue_()
    stage(page, "done")
    expect(page.locator(".refusal")).to_be_hidden()
    expect(page.locator(".strip-list li")).to_have_count(1)


def test_settings_of_a_picture_bring_its_units_back(page: Page) -> None:
    tab(page, "ControlNet")
    give_unit(page, picture_of())
    map_is_here(page)
    weight = page.locator("#units input[data-part=Weight]")
    weight.fill("0.7")
    weight.dispatch_event("change")
    write(page, "a red tower by the sea", steps=4)
    generate(page)
    stage(page, "done")
    page.locator("#units .card-remove").click()
    expect(page.locator("#units .card")).to_have_count(1)
    tab(page, "Text")
    page.get_by_role("button", name="Reuse settings").click()
    expect(page.get_by_role("tab", name="ControlNet", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#units input[data-part=Weight]")).to_have_value("0.7")
    map_is_here(page)


def test_units_and_their_maps_survive_a_reload(page: Page) -> None:
    tab(page, "ControlNet")
    give_unit(page, picture_of())
    map_is_here(page)
    page.get_by_role("button", name="Add a unit").click()
    expect(page.locator("#units .card")).to_have_count(2)
    page.reload()
    expect(page.locator('.stage[data-loaded="yes"]')).to_be_visible()
    expect(page.locator("#units .card")).to_have_count(2)
    map_is_here(page)


def test_a_result_leads_the_next_drawing(page: Page) -> None:
    write(page, "a red castle in the desert", steps=6)
    generate(page)
    stage(page, "done")
    page.locator('.stage-actions [data-do="send"]').click()
    page.get_by_role("menuitem", name="ControlNet", exact=True).click()
    expect(page.locator("#units img[alt=Source]")).to_be_visible()
    map_is_here(page)
    expect(page.locator("#ctl-prompt textarea")).to_have_value("a red castle in the desert")


def test_what_needs_a_download_says_so_in_its_card(page: Page) -> None:
    tab(page, "ControlNet")
    give_unit(page, picture_of())
    map_is_here(page)
    page.locator("#units select[data-part='Map from']").select_option("hed")
    expect(page.get_by_role("button", name="Fetch 29 MB, licence: Apache-2.0")).to_be_visible()
    expect(page.locator("#units img[alt=Map]")).to_have_count(0)


def test_units_lead_a_picture_from_a_picture_too(page: Page, studio: Studio) -> None:
    write(page, "a red castle in the desert", steps=6)
    generate(page)
    stage(page, "done")
    send(page, "Image")
    page.get_by_role("button", name="ControlNet", exact=True).click()
    page.get_by_role("button", name="Add a unit").click()
    give_unit(page, picture_of())
    map_is_here(page)
    expect(page.locator(".units-title").first).to_have_text("ControlNet: 1 on")
    generate(page)
    stage(page, "done")
    assert shown_picture(page, studio).size == (256, 256)
