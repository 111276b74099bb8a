"""The room of the stage: what lies beside it stays where it is, and it can have the whole screen."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import SHOTS, open_studio
from tests.browser.hands import chip, generate, send, stage, write
from tests.pictures_in_bulk import list_again
from tests.studio import Studio

pytestmark = pytest.mark.browser
_WIDTHS = {1440: 900, 390: 844}


@pytest.fixture(params=[(1440, "dark"), (390, "light")], ids=["desk", "phone"])
def either(browser: Browser, studio: Studio, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page on a desk and in a hand, each in one of the themes."""
    width, theme = request.param
    context = browser.new_context(viewport={"width": width, "height": _WIDTHS[width]}, has_touch=width < 900)
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.add_init_script(f"localStorage.setItem('easel_theme', '{theme}')")
    open_studio(page, studio)
    yield page
    context.close()


def shoot(page: Page, name: str) -> None:
    assert page.viewport_size
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=SHOTS / f"stage-{name}-{page.viewport_size['width']}.png")


def draw(page: Page, words: str, *, steps: int = 2) -> None:
    write(page, words, steps=steps)
    generate(page)
    expect(page.locator(".strip-list img").first).to_have_attribute("alt", words, timeout=60_000)
    stage(page, "done")


def box_of(place: Locator) -> dict[str, float]:
    box = place.bounding_box()
    assert box
    return {"x": box["x"], "y": box["y"], "width": box["width"], "height": box["height"]}


def test_results_stay_in_their_column_while_something_is_drawn(either: Page, studio: Studio) -> None:
    draw(either, "a red castle")
    list_again(studio.data, 9)
    either.reload()
    expect(either.locator(".strip-list > li")).to_have_count(10)
    write(either, "a long one", steps=200)
    generate(either)
    stage(either, "drawing")
    expect(either.locator(".line-list li")).to_have_count(1)
    column, line, results = (box_of(either.locator(name)) for name in ("#tray", "#line", ".strip"))
    shoot(either, "drawing-beside-results")
    assert results["y"] >= line["y"] + line["height"]
    assert results["x"] + results["width"] <= column["x"] + column["width"]
    assert either.evaluate("(() => { const one = document.querySelector('#tray'); return one.scrollWidth <= one.clientWidth; })()")
    either.get_by_role("button", name="Stop", exact=True).click()
    stage(either, "stopped")


def test_full_screen_is_the_whole_screen_and_sending_leaves_it(either: Page) -> None:
    draw(either, "a red castle")
    small = box_of(either.locator(".stage-picture"))
    either.locator(".stage-picture").click()
    full, picture = box_of(either.locator(".stage")), box_of(either.locator(".stage-picture"))
    shoot(either, "full")
    size = either.viewport_size
    assert size
    assert full == {"x": 0, "y": 0, "width": size["width"], "height": size["height"]}
    # As wide as the screen, and higher than before: a picture that is laid into it is as large as fits, and in the middle.
    assert picture["width"] == size["width"]
    assert picture["height"] > small["height"]
    foot = box_of(either.locator(".stage-foot"))
    assert foot["y"] + foot["height"] <= size["height"]
    assert picture["height"] >= size["height"] - foot["height"] - 16
    assert either.evaluate("document.elementFromPoint(innerWidth / 2, innerHeight - 4).closest('.stage') !== null")
    either.locator('.stage-actions [data-do="send"]').click()
    either.get_by_role("menuitem", name="Inpaint", exact=True).click()
    expect(either.locator(".editor[data-ready]")).to_be_visible()
    either.get_by_role("tab", name="Text", exact=True).click()
    expect(either.locator(".stage-picture")).to_be_visible()
    expect(either.locator(".stage.is-full")).to_have_count(0)
    expect(either.get_by_role("button", name="Leave full screen")).to_be_hidden()


def cells(page: Page) -> Locator:
    return page.locator(".stage-sheet .cell-open")


def test_four_pictures_are_a_sheet_to_choose_from(either: Page) -> None:
    chip(either, "count", "4")
    draw(either, "a red castle")
    expect(cells(either)).to_have_count(4)
    shoot(either, "four")
    places = [box_of(cells(either).nth(at)) for at in range(4)]
    assert places[0]["y"] == places[1]["y"] < places[2]["y"] == places[3]["y"]
    assert places[0]["x"] == places[2]["x"] < places[1]["x"] == places[3]["x"]
    frame = box_of(either.locator(".stage-frame"))
    # Two rows have the room of the stage; none of it is scrolled away.
    assert places[3]["y"] + places[3]["height"] > frame["y"] + 0.85 * frame["height"]
    assert places[3]["y"] + places[3]["height"] <= frame["y"] + frame["height"]
    assert either.evaluate("document.documentElement.scrollWidth <= innerWidth")
    third = either.get_by_role("button", name=re.compile(r"Picture 3 of 4, seed \d+: a red castle"))
    address = third.locator("img").get_attribute("src") or ""
    either.evaluate("document.activeElement.blur()")
    for key in ("ArrowRight", "ArrowDown"):
        either.keyboard.press(key)
    expect(third).to_be_focused()
    either.keyboard.press("Enter")
    expect(either.locator(".stage-picture")).to_have_attribute("src", address)
    expect(either.locator(".stage-status")).to_have_text("Picture 3 of 4")
    expect(either.locator(".stage-facts")).to_contain_text("seed")
    either.keyboard.press("Enter")
    expect(third).to_be_focused()
    cells(either).nth(1).click()
    expect(either.locator(".stage-status")).to_have_text("Picture 2 of 4")
    shoot(either, "one-of-four")
    # What is chosen among the results leaves the way back open, and so does a reload.
    either.locator(".strip-open").first.click()
    expect(either.locator(".stage-status")).to_have_text("Picture 4 of 4")
    either.get_by_role("button", name="All 4", exact=True).click()
    expect(cells(either)).to_have_count(4)
    either.reload()
    expect(cells(either)).to_have_count(4)


def top_of(page: Page) -> float:
    """Where the prompt begins on the page, however far it is scrolled."""
    return page.evaluate("document.querySelector('#ctl-prompt').getBoundingClientRect().top + scrollY")


def test_the_picture_before_stays_until_the_next_can_be_seen_and_nothing_jumps(either: Page) -> None:
    draw(either, "a red castle")
    first = either.locator(".stage-picture").get_attribute("src")
    frame, room = box_of(either.locator(".stage-frame")), top_of(either)
    # From now on every change is looked at: when there was nothing to see, or the room for the picture was another one.
    either.evaluate("""() => {
      window.bare = []; window.heights = new Set(); window.dimmed = [];
      const stage = document.querySelector(".stage"), look = () => {
        const picture = stage.querySelector(".stage-picture");
        if (!picture.src || picture.hidden) window.bare.push(stage.dataset.kind);
        if (stage.classList.contains("is-past")) window.dimmed.push(picture.getAttribute("src"));
        window.heights.add(Math.round(stage.querySelector(".stage-frame").getBoundingClientRect().height));
      };
      new MutationObserver(look).observe(stage, { subtree: true, attributes: true, childList: true });
    }""")
    write(either, "a blue ship", steps=12)
    generate(either)
    expect(either.locator(".stage-picture.is-preview")).to_be_visible(timeout=60_000)
    expect(either.locator(".stage-picture:not(.is-preview)")).to_have_attribute("alt", "a blue ship", timeout=60_000)
    assert either.evaluate("window.bare") == []
    assert set(either.evaluate("window.dimmed")) == {first}
    assert either.evaluate("[...window.heights]") == [round(frame["height"])]
    expect(either.locator(".stage.is-past")).to_have_count(0)
    if either.viewport_size and either.viewport_size["width"] < 900:
        assert top_of(either) == room


def test_one_time_and_the_steps_that_ran(page: Page) -> None:
    draw(page, "a red castle", steps=10)
    said = page.locator(".stage-foot").inner_text()
    assert len(re.findall(r"\d s\b", said)) == 1, said
    send(page, "Image")
    strength = page.locator("#ctl-strength input[type=number]")
    strength.fill("0.5")
    strength.press("Tab")
    write(page, "a blue castle", steps=10)
    generate(page)
    expect(page.locator(".stage-picture:not(.is-preview)")).to_have_attribute("alt", "a blue castle", timeout=60_000)
    expect(page.locator(".stage-facts")).to_contain_text("· 5 steps ·")


def test_what_was_said_goes_when_it_is_over(page: Page) -> None:
    for words in ("a red castle", "a blue ship"):
        draw(page, words)
    page.locator(".stage-actions").get_by_text("Compare").click()
    expect(page.locator(".stage-status")).to_contain_text("choose the other picture")
    page.locator(".strip-open").nth(1).click()
    expect(page.locator("#compare")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".stage-status")).to_be_visible()
    expect(page.locator(".stage-status")).not_to_contain_text("choose the other")
    write(page, "a long one", steps=200)
    generate(page)
    stage(page, "drawing")
    page.locator(".line-tools [data-do=stop]").click()
    stage(page, "stopped")
    generate(page)
    stage(page, "drawing")
    expect(page.locator(".line-list li")).to_have_count(1)
    expect(page.locator(".line-said")).to_have_text("")
    page.get_by_role("button", name="Stop", exact=True).click()
    stage(page, "stopped")


def test_both_pictures_are_compared_whole_and_named(either: Page) -> None:
    draw(either, "a red castle")
    chip(either, "size", "384 × 256")
    draw(either, "a blue ship", steps=3)
    # The wide one first: the square one has bars beside it, and loses nothing.
    either.locator(".stage-actions").get_by_text("Compare").click()
    either.locator(".strip-open").nth(1).click()
    expect(either.locator("#wipe img")).to_have_count(2)
    expect(either.locator(".compare-said p").first).to_contain_text("· 384 × 256")
    expect(either.locator(".compare-said p").last).to_contain_text("· 256 × 256")
    expect(either.locator(".compare-said")).to_contain_text("“a blue ship” · 3 steps")
    expect(either.locator(".compare-said")).to_contain_text("“a red castle” · 2 steps")
    expect(either.locator("#wipe .icon-button-wrapper")).to_be_hidden()
    either.wait_for_function("[...document.querySelectorAll('#wipe img')].every((one) => one.naturalWidth > 0)")
    shoot(either, "compare")
    assert either.evaluate("[...document.querySelectorAll('#wipe img')].map((one) => [one.naturalWidth, one.naturalHeight])") == [[384, 256]] * 2
    ends = either.evaluate("""() => [...document.querySelectorAll("#wipe img")].map((image) => { const canvas = document.createElement("canvas");
      canvas.width = image.naturalWidth; canvas.height = image.naturalHeight; const pen = canvas.getContext("2d"); pen.drawImage(image, 0, 0);
      return new Set([2, 30, 60, 323, 350, 381].map((x) => String(pen.getImageData(x, 128, 1, 1).data))).size; })""")
    # One of them has the plain ground at both sides.
    assert min(ends) == 1 < max(ends)


def test_going_to_generate_moves_no_control(page: Page) -> None:
    write(page, "a red castle", steps=2)
    page.get_by_role("button", name=re.compile("^Generate")).focus()
    assert page.evaluate("document.querySelector('#controls').scrollTop") == 0
