"""What a person does with their jobs on the page: pause, resume, skip, retry, duplicate, edit, move; the place in line on the button."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import SHOTS, open_studio
from tests.browser.hands import chip, generate, stage, write
from tests.studio import Studio

pytestmark = pytest.mark.browser


def rows(page: Page) -> Locator:
    return page.locator(".line-list > li")


def row(page: Page, words: str) -> Locator:
    return page.locator(".line-list > li", has=page.locator(".line-prompt", has_text=words))


def press(page: Page, words: str, name: str) -> None:
    row(page, words).get_by_role("button", name=re.compile(f"^{name}")).click()


def order(page: Page) -> list[str]:
    return page.locator(".line-list .line-prompt").all_inner_texts()


def ask_for(page: Page, words: str, *, steps: int) -> None:
    """One more job, and wait until it stands in the line."""
    write(page, words, steps=steps)
    generate(page)
    expect(row(page, words)).to_have_count(1)


@pytest.fixture
def busy(page: Page) -> Iterator[Page]:
    """A page with a long job under way; whatever is left in the line afterwards is stopped."""
    ask_for(page, "a long one", steps=200)
    stage(page, "drawing")
    yield page
    while rows(page).count():
        with contextlib.suppress(Exception):
            rows(page).last.locator("[data-do=stop], [data-do=away]").first.click(timeout=1000)


def test_several_jobs_wait_in_the_order_that_their_owner_wants(busy: Page) -> None:
    for words in ("a first ship", "a second ship", "a third ship"):
        ask_for(busy, words, steps=150)
    assert order(busy) == ["a long one", "a first ship", "a second ship", "a third ship"]
    press(busy, "a third ship", "Move up")
    expect(busy.locator(".line-list .line-prompt").nth(2)).to_have_text("a third ship")
    press(busy, "a first ship", "Move down")
    expect(busy.locator(".line-list .line-prompt").nth(1)).to_have_text("a third ship")
    assert order(busy) == ["a long one", "a third ship", "a first ship", "a second ship"]
    # The ends of the line have nowhere to go.
    expect(row(busy, "a third ship").locator("[data-do=up]")).to_have_count(0)
    expect(row(busy, "a second ship").locator("[data-do=down]")).to_have_count(0)
    busy.screenshot(path=SHOTS / "line-1440-dark.png")
    # By keyboard, and the focus stays with the job that moves.
    row(busy, "a second ship").locator("[data-do=up]").focus()
    busy.keyboard.press("Enter")
    expect(busy.locator(".line-list .line-prompt").nth(2)).to_have_text("a second ship")
    expect(row(busy, "a second ship").locator("[data-do=up]")).to_be_focused()
    busy.reload()
    expect(rows(busy)).to_have_count(4)
    assert order(busy) == ["a long one", "a third ship", "a second ship", "a first ship"]


def test_stop_ends_the_one_on_the_stage_and_the_next_begins(busy: Page) -> None:
    ask_for(busy, "the next one", steps=150)
    expect(busy.locator(".stage-status")).to_have_text(re.compile(r"Step \d+ of 200"))
    busy.keyboard.press("Escape")
    expect(row(busy, "a long one")).to_have_count(0)
    expect(busy.locator(".stage-status")).to_have_text(re.compile(r"Step \d+ of 150"), timeout=20_000)
    expect(row(busy, "the next one")).to_have_attribute("data-state", "running")


def test_pause_frees_the_device_and_resume_goes_on_there(busy: Page, studio: Studio) -> None:
    begin = time.monotonic()
    press(busy, "a long one", "Pause")
    stage(busy, "paused")
    print(f"paused {1000 * (time.monotonic() - begin):.0f} ms after the click")
    expect(busy.locator(".stage-title")).to_have_text(re.compile(r"Paused after step \d+"))
    at = int(re.findall(r"\d+", busy.locator(".stage-title").inner_text())[0])
    expect(busy.get_by_role("button", name="Stop", exact=True)).to_be_hidden()
    assert busy.title() == "Paused · Easel"
    # Somebody else's turn: a short one is drawn meanwhile.
    write(busy, "a short one", steps=2)
    generate(busy)
    expect(busy.locator(".strip-list li")).to_have_count(1)
    expect(busy.locator(".stage-picture")).to_have_attribute("alt", "a short one")
    expect(row(busy, "a long one")).to_have_attribute("data-state", "paused")
    busy.reload()
    stage(busy, "paused")
    busy.locator(".stage-retry").click()
    expect(busy.locator(".stage-status")).to_have_text(re.compile(r"Step \d+ of 200"), timeout=20_000)
    step = int(re.findall(r"\d+", busy.locator(".stage-status").inner_text())[0])
    assert step > at, (step, at)


def test_one_picture_of_a_batch_is_skipped(page: Page) -> None:
    write(page, "a batch of towers", steps=30)
    chip(page, "count", "4")
    generate(page)
    stage(page, "drawing")
    expect(page.locator(".stage-status")).to_have_text(re.compile("Picture 1 of 4"))
    press(page, "a batch of towers", "Skip picture 1 of 4")
    expect(page.locator(".stage-status")).to_have_text(re.compile("Picture [234] of 4"), timeout=20_000)
    stage(page, "done")
    expect(page.locator(".strip-list li")).to_have_count(3)


def test_a_duplicate_has_the_same_settings_and_a_seed_of_its_own(busy: Page, studio: Studio) -> None:
    press(busy, "a long one", "Duplicate")
    expect(rows(busy)).to_have_count(2)
    recipes = open_recipes(studio, "a long one")
    assert len(recipes) == 2
    assert recipes[0]["seed"] != recipes[1]["seed"]
    assert {**recipes[0], "seed": 0} == {**recipes[1], "seed": 0}


def open_recipes(studio: Studio, prompt: str) -> list[dict[str, object]]:
    import json

    with contextlib.closing(sqlite3.connect(studio.data / "easel.db")) as db:
        found = [json.loads(text) for (text,) in db.execute("SELECT recipe FROM jobs WHERE state IN ('queued', 'running') ORDER BY place")]
    return [recipe for recipe in found if recipe["prompt"] == prompt]


def test_edit_and_rerun_puts_the_settings_into_the_form(busy: Page) -> None:
    ask_for(busy, "a blue tower", steps=77)
    write(busy, "something else", steps=5)
    press(busy, "a blue tower", "Edit")
    expect(busy.get_by_label("Prompt", exact=True)).to_have_value("a blue tower")
    expect(busy.locator("#ctl-steps input[type=number]")).to_have_value("77")


def test_a_failed_job_says_why_and_is_tried_again_or_put_away(page: Page, studio: Studio) -> None:
    for words in ("a broken bridge", "a broken boat"):
        write(page, words, steps=2)
        generate(page)
        expect(page.locator(".stage-picture")).to_have_attribute("alt", words)
        stage(page, "done")
    expect(page.locator(".strip-list li")).to_have_count(2)
    # As a full disk would have left them.
    error = '{"type": "DiskFull", "message": "The disk is full.", "hint": "Free some space.", "field": null}'
    with contextlib.closing(sqlite3.connect(studio.data / "easel.db")) as db, db:
        db.execute("DELETE FROM pictures WHERE recipe LIKE '%a broken b%'")
        db.execute("UPDATE jobs SET state = 'failed', error = ? WHERE recipe LIKE '%a broken b%'", (error,))
    expect(rows(page)).to_have_count(2)
    expect(row(page, "a broken boat").locator(".line-text")).to_have_text("The disk is full. Free some space.")
    page.screenshot(path=SHOTS / "line-failed-1440.png")
    press(page, "a broken bridge", "Put away")
    expect(rows(page)).to_have_count(1)
    press(page, "a broken boat", "Try this again")
    expect(rows(page)).to_have_count(0)
    expect(page.locator(".strip-list li")).to_have_count(1)
    page.reload()
    stage(page, "done")
    expect(rows(page)).to_have_count(0)


def test_a_stopped_job_is_drawn_again_from_the_stage(busy: Page) -> None:
    busy.get_by_role("button", name="Stop", exact=True).click()
    stage(busy, "stopped")
    busy.get_by_role("button", name="Draw it again").click()
    stage(busy, "drawing")
    expect(row(busy, "a long one")).to_have_count(1)


def test_the_button_tells_the_price_and_the_place_before_and_while(page: Page, browser: Browser, studio: Studio) -> None:
    write(page, "a red castle", steps=20)
    generate(page)
    stage(page, "done")
    button = page.locator("#go")
    expect(button).to_have_text(re.compile(r"^\s*Generate\s+(≈|<) \d+ s\s*$"))
    other = browser.new_context(viewport={"width": 1440, "height": 900})
    stranger = other.new_page()
    open_studio(stranger, studio)
    write(stranger, "a long one of a stranger", steps=200)
    generate(stranger)
    stage(stranger, "drawing")
    write(page, "a red castle", steps=21)
    # One is under way and nobody waits: the next one is first in line, the one after it second.
    generate(page)
    stage(page, "waiting")
    expect(page.locator(".stage-title")).to_have_text(re.compile("Next in line"))
    expect(button).to_have_text(re.compile(r"^\s*Generate\s+(≈|<) \d+ s · 2nd in line\s*$"))
    expect(button).to_be_visible()
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    page.screenshot(path=SHOTS / "waiting-1440.png")
    stranger.get_by_role("button", name="Stop", exact=True).click()
    stage(page, "done")
    expect(button).to_have_text(re.compile(r"^\s*Generate\s+(≈|<) \d+ s\s*$"), timeout=20_000)
    other.close()


def test_a_stranger_sees_no_line(busy: Page, browser: Browser, studio: Studio) -> None:
    job = busy.locator(".stage").get_attribute("data-job")
    other = browser.new_context()
    stranger = other.new_page()
    open_studio(stranger, studio)
    expect(rows(stranger)).to_have_count(0)
    for do in ("stop", "pause", "skip", "retry", "duplicate", "up", "away"):
        answer = stranger.request.post(studio.url + "/jobs", data={"do": do, "job": job}, headers={"X-Easel": "1"})
        assert answer.status == 422, do
        assert "not here" in answer.json()["message"]
    assert stranger.request.post(studio.url + "/jobs", data={"do": "stop", "job": job}).status == 403
    other.close()
    expect(row(busy, "a long one")).to_have_attribute("data-state", "running")


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_on_a_phone_every_target_is_large_and_named(browser: Browser, studio: Studio, theme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.add_init_script(f"localStorage.setItem('easel_theme', '{theme}')")
    open_studio(page, studio)
    for words in ("a long one of a phone", "a second one of a phone with quite a few words to say", "a third one"):
        ask_for(page, words, steps=150)
    stage(page, "drawing")
    small = page.evaluate("""() => [...document.querySelectorAll('.line button, #go-row button, .strip button, .top button')].filter((one) => one.offsetParent)
      .map((one) => [one.getAttribute('aria-label') || one.textContent.trim(), one.getBoundingClientRect()])
      .filter(([name, { width, height }]) => !name || width < 44 || height < 44).map(([name, { width, height }]) => [name, width, height])""")
    assert not small, small
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=SHOTS / f"line-top-390-{theme}.png")
    page.locator(".line").scroll_into_view_if_needed()
    page.screenshot(path=SHOTS / f"line-390-{theme}.png")
    while rows(page).count():
        with contextlib.suppress(Exception):
            rows(page).last.locator("[data-do=stop]").click(timeout=1000)
    context.close()


def test_whether_half_done_pictures_are_kept_is_asked_once(page: Page) -> None:
    def stop_one(words: str) -> None:
        write(page, words, steps=200)
        generate(page)
        expect(page.locator(".stage-status")).to_have_text(re.compile(r"Step \d+ of 200"))
        page.get_by_role("button", name="Stop", exact=True).click()
        stage(page, "stopped")

    question = page.get_by_role("group", name="The half-finished picture")
    stop_one("a first castle")
    expect(question).to_be_visible()
    expect(page.locator(".strip-list > li")).to_have_count(1)
    expect(page.locator(".stage-facts")).to_contain_text("stopped half-way")
    page.screenshot(path=SHOTS / "stopped-ask-1440.png")
    question.get_by_role("button", name="Keep such pictures").click()
    expect(question).to_be_hidden()
    stop_one("a second castle")
    expect(page.locator(".strip-list > li")).to_have_count(2)
    expect(question).to_be_hidden()
    page.get_by_role("button", name="Settings", exact=True).click()
    page.get_by_label("Keep it as far as it had come").uncheck()
    page.keyboard.press("Escape")
    stop_one("a third castle")
    expect(page.locator(".stage-title")).to_have_text(re.compile(r"Stopped after step \d+"))
    expect(page.locator(".strip-list > li")).to_have_count(2)
    expect(question).to_be_hidden()


def test_throwing_half_done_pictures_away_begins_with_this_one(busy: Page) -> None:
    expect(busy.locator(".stage-status")).to_have_text(re.compile(r"Step \d+ of 200"))
    busy.get_by_role("button", name="Stop", exact=True).click()
    busy.get_by_role("button", name="Throw them away").click()
    expect(busy.locator(".strip-list > li")).to_have_count(0)
    expect(busy.locator(".stage-title")).to_have_text(re.compile(r"Stopped after step \d+"))
    # In the bin, for a hand that slipped.
    expect(busy.locator(".strip-bin")).to_have_text("Bin · 1")


def test_a_double_click_asks_for_one_picture(page: Page) -> None:
    write(page, "a red castle", steps=3)
    page.locator("#go").dblclick()
    stage(page, "done")
    page.wait_for_timeout(500)
    expect(page.locator(".strip-list > li")).to_have_count(1)
    expect(rows(page)).to_have_count(0)
