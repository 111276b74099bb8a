"""The tray: hundreds of small pictures, newest first; a bin that gives back and that can be emptied; original bytes."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from engine.library.metadata import read_recipe
from tests.browser.conftest import SHOTS, open_studio
from tests.browser.hands import generate, stage, write
from tests.pictures_in_bulk import list_again
from tests.studio import Studio

pytestmark = pytest.mark.browser
MANY = 300


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio of one visitor at a time: copies are made of the picture that is newest of all."""
    with Studio(tmp_path_factory.mktemp("full")) as running:
        running.wait_ready()
        yield running


def entries(page: Page) -> Locator:
    return page.locator(".strip-list > li")


def draw(page: Page, words: str) -> None:
    write(page, words, steps=2)
    generate(page)
    expect(page.locator(".strip-list img").first).to_have_attribute("alt", words, timeout=60_000)
    stage(page, "done")


def title(page: Page) -> Locator:
    return page.locator(".strip-title")


def delete(page: Page, at: int) -> None:
    entries(page).nth(at).hover()
    entries(page).nth(at).get_by_role("button", name=re.compile("^Delete")).click()


@pytest.fixture
def alone(browser: Browser, full: Studio) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(30_000)
    page = context.new_page()
    open_studio(page, full)
    yield page
    context.close()


def test_an_empty_tray_says_what_will_be_there(page: Page) -> None:
    expect(page.locator(".strip-none")).to_have_text("Your pictures gather here. Only you see them.")
    expect(page.locator(".strip-bin")).to_be_hidden()
    expect(page.locator(".strip-more")).to_be_hidden()


def test_hundreds_of_pictures_come_while_scrolling(alone: Page, full: Studio) -> None:
    draw(alone, "a red castle")
    made = list_again(full.data, MANY)
    begin = time.monotonic()
    alone.reload()
    expect(title(alone)).to_have_text(f"Results · {MANY + 1}")
    expect(entries(alone).first).to_have_attribute("data-id", made[-1])
    print(f"a tray of {MANY + 1} pictures is there {1000 * (time.monotonic() - begin):.0f} ms after a reload began")
    # Only a page of them: the rest is fetched when somebody comes near.
    assert entries(alone).count() == 60
    alone.wait_for_function("performance.getEntriesByType('resource').some((one) => one.name.includes('/thumbnails/'))")
    heavy = alone.evaluate("performance.getEntriesByType('resource').filter((one) => one.name.includes('/pictures/')).length")
    small = alone.evaluate("performance.getEntriesByType('resource').filter((one) => one.name.includes('/thumbnails/')).length")
    print(f"loaded: {small} small pictures, {heavy} large ones")
    assert heavy <= 1
    assert 0 < small <= 60
    alone.screenshot(path=SHOTS / "tray-many-1440.png")
    for pages in (2, 3, 4, 5):
        entries(alone).last.scroll_into_view_if_needed()
        expect(entries(alone)).to_have_count(min(60 * pages, MANY + 1))
    entries(alone).last.scroll_into_view_if_needed()
    expect(entries(alone)).to_have_count(MANY + 1)
    expect(alone.locator(".strip-more")).to_be_hidden()
    ids = entries(alone).evaluate_all("(all) => all.map((one) => one.dataset.id)")
    assert ids[:-1] == made[::-1]
    # Far down, the way back is in sight.
    delete(alone, 290)
    expect(alone.get_by_role("button", name="Undo", exact=True)).to_be_in_viewport(ratio=1)
    alone.get_by_role("button", name="Undo", exact=True).click()
    expect(title(alone)).to_have_text(f"Results · {MANY + 1}")
    expect(entries(alone)).to_have_count(MANY + 1)
    # The newest one comes on top, and what was loaded behind it stays.
    draw(alone, "a blue ship")
    expect(entries(alone)).to_have_count(MANY + 2)
    expect(title(alone)).to_have_text(f"Results · {MANY + 2}")


def test_more_by_keyboard(alone: Page, full: Studio) -> None:
    draw(alone, "a green robot")
    list_again(full.data, 70)
    alone.reload()
    expect(entries(alone)).to_have_count(60)
    alone.locator(".strip-more").focus()
    alone.keyboard.press("Enter")
    expect(entries(alone)).to_have_count(71)


def test_deleted_restored_and_destroyed(page: Page, studio: Studio) -> None:
    for words in ("a first tower", "a second tower", "a third tower"):
        draw(page, words)
    before = entries(page).evaluate_all("(all) => all.map((one) => one.dataset.id)")
    delete(page, 1)
    expect(entries(page)).to_have_count(2)
    expect(title(page)).to_have_text("Results · 2")
    page.get_by_role("button", name="Undo", exact=True).click()
    expect(entries(page)).to_have_count(3)
    assert entries(page).evaluate_all("(all) => all.map((one) => one.dataset.id)") == before
    delete(page, 1)
    # By the key, with the focus in the tray.
    entries(page).first.locator(".strip-open").focus()
    page.keyboard.press("Delete")
    expect(entries(page)).to_have_count(1)
    page.reload()
    expect(entries(page)).to_have_count(1)
    page.get_by_role("button", name="Bin · 2").click()
    expect(title(page)).to_have_text("Bin · 2")
    # What was thrown away last comes first.
    expect(page.locator(".strip-list img").first).to_have_attribute("alt", "a third tower")
    page.screenshot(path=SHOTS / "bin-1440-dark.png")
    entries(page).nth(1).get_by_role("button", name="Restore").click()
    expect(entries(page)).to_have_count(1)
    page.get_by_role("button", name="Empty the bin").click()
    expect(page.locator(".strip-sure")).to_contain_text("Destroy this picture for good?")
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(entries(page)).to_have_count(1)
    address = page.locator(".strip-list img").first.get_attribute("src") or ""
    original = address.replace("/thumbnails/", "/pictures/").replace(".jpg", ".png")
    assert page.request.get(studio.url + original).status == 200
    page.get_by_role("button", name="Empty the bin").click()
    page.get_by_role("button", name="Destroy").click()
    expect(page.locator(".strip-none")).to_have_text("The bin is empty.")
    assert page.request.get(studio.url + original).status == 404
    assert page.request.get(studio.url + address).status == 404
    page.get_by_role("button", name="Back to results").click()
    expect(entries(page)).to_have_count(2)
    assert entries(page).evaluate_all("(all) => all.map((one) => one.dataset.id)") == before[1:]
    expect(page.locator(".strip-bin")).to_be_hidden()


def test_tab_stops_at_one_picture_and_arrows_go_to_the_others(page: Page, studio: Studio) -> None:
    for words in ("a red castle", "a blue ship", "a green tree"):
        draw(page, words)
    stops = page.locator(".strip-list :is(button, a):not([tabindex='-1'])")
    first, second, third = (entries(page).nth(at).locator(".strip-open") for at in range(3))
    expect(stops).to_have_count(5)
    first.focus()
    page.keyboard.press("ArrowRight")
    expect(second).to_be_focused()
    expect(entries(page).nth(1)).to_have_class(re.compile("is-current"))
    expect(page.locator(".stage-picture img, .stage-frame img").first).to_have_attribute("alt", re.compile("blue ship"))
    page.keyboard.press("End")
    expect(third).to_be_focused()
    expect(stops).to_have_count(5)
    page.keyboard.press("Home")
    expect(first).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(first).to_be_focused()
    page.keyboard.press("Tab")
    expect(entries(page).nth(0).get_by_role("button", name="Reuse")).to_be_focused()


def test_a_second_tab_sees_what_is_deleted_in_the_first(page: Page, studio: Studio) -> None:
    draw(page, "a white lighthouse")
    other = page.context.new_page()
    open_studio(other, studio)
    expect(entries(other)).to_have_count(1)
    begin = time.monotonic()
    delete(page, 0)
    expect(entries(other)).to_have_count(0)
    print(f"the other tab knows {1000 * (time.monotonic() - begin):.0f} ms after the click")


def test_a_download_is_the_original_with_its_recipe(page: Page, studio: Studio) -> None:
    draw(page, "a yellow balloon over hills")
    with page.expect_download() as download:
        entries(page).first.get_by_text("Save", exact=True).click()
    content = Path(download.value.path()).read_bytes()
    (kept,) = [path for path in (studio.data / "images").rglob("*.png") if path.read_bytes() == content]
    assert kept.is_file()
    assert read_recipe(io.BytesIO(content)).prompt == "a yellow balloon over hills"


def test_a_stranger_has_no_part_in_it(page: Page, browser: Browser, studio: Studio) -> None:
    draw(page, "a secret garden")
    name = entries(page).first.get_attribute("data-id") or ""
    other = browser.new_context()
    stranger = other.new_page()
    open_studio(stranger, studio)
    assert stranger.request.get(studio.url + "/tray").json()["pictures"] == []
    assert stranger.request.get(f"{studio.url}/tray?after={name}").json()["pictures"] == []
    assert stranger.request.get(f"{studio.url}/thumbnails/{name}.jpg").status == 404
    for do in ("bin", "restore", "empty"):
        answer = stranger.request.post(studio.url + "/tray", data={"do": do, "pictures": [name]}, headers={"X-Easel": "1"})
        assert answer.json()["done"] == 0
    assert stranger.request.post(studio.url + "/tray", data={"do": "bin", "pictures": [name]}).status == 403
    assert stranger.request.post(studio.url + "/tray", data={"do": "bin", "pictures": ["../x"]}, headers={"X-Easel": "1"}).status == 422
    other.close()
    page.reload()
    expect(entries(page)).to_have_count(1)


def test_a_finished_picture_is_looked_at_while_another_is_drawn(page: Page) -> None:
    draw(page, "a finished one")
    write(page, "a long one", steps=150)
    generate(page)
    stage(page, "drawing")
    page.locator(".strip-open").first.click()
    expect(page.locator(".stage-picture")).to_have_attribute("alt", "a finished one")
    expect(page.locator(".stage-facts")).to_contain_text("2 steps")
    page.get_by_role("button", name="Back to the running one").click()
    expect(page.locator(".stage-picture")).to_have_attribute("alt", "Preview: a long one")
    page.get_by_role("button", name="Stop", exact=True).click()
    stage(page, "stopped")


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_on_a_phone(browser: Browser, studio: Studio, theme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.add_init_script(f"localStorage.setItem('easel_theme', '{theme}')")
    open_studio(page, studio)
    for words in ("a red car", "a blue boat", "a green tree"):
        draw(page, words)
    entries(page).first.scroll_into_view_if_needed()
    entries(page).first.get_by_role("button", name=re.compile("^Delete")).click()
    expect(entries(page)).to_have_count(2)
    expect(page.get_by_role("button", name="Undo", exact=True)).to_be_in_viewport(ratio=1)
    bar, undo = page.locator("#go-row").bounding_box(), page.get_by_role("button", name="Undo", exact=True).bounding_box()
    assert bar
    assert undo
    assert undo["y"] + undo["height"] <= bar["y"]
    small = page.evaluate("""() => [...document.querySelectorAll('.strip button, .strip a')].filter((one) => one.offsetParent)
      .map((one) => [one.getAttribute('aria-label') || one.textContent.trim(), one.getBoundingClientRect()])
      .filter(([name, { width, height }]) => !name || width < 44 || height < 44).map(([name, { width, height }]) => [name, width, height])""")
    assert not small, small
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=SHOTS / f"tray-390-{theme}.png")
    context.close()
