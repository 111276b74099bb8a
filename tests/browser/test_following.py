"""The page follows and never owns: reload, second tab, a phone that slept, a line that dropped, a server that was killed; title, sound, note."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.apart import running_app
from tests.browser.conftest import SHOTS, open_studio
from tests.browser.hands import chip, generate, stage, unfold, write
from tests.studio import Studio

pytestmark = pytest.mark.browser
LONG = 200
# A reload of the studio against one of a bare page with one field.
_BARE_TIMES = 4
# A browser that hears what the page would play and show, and a page that can be out of sight.
_STAND_IN = """
  window.tones = 0; window.notes = []; window.asked = 0;
  window.AudioContext = class { constructor() { this.state = "running"; this.currentTime = 0; this.destination = {}; }
    resume() {} createGain() { return { gain: { setValueAtTime() {}, linearRampToValueAtTime() {}, exponentialRampToValueAtTime() {} }, connect: (to) => to }; }
    createOscillator() { return { frequency: {}, connect: (to) => to, start() { window.tones += 1; }, stop() {} }; } };
  window.Notification = class { constructor(title, { body }) { window.notes.push(`${title}: ${body}`); } close() {}
    static permission = localStorage.getItem("test_permission") || "default";
    static async requestPermission() { window.asked += 1; const answer = window.answer || "granted"; Notification.permission = answer;
      localStorage.setItem("test_permission", answer); return answer; } };
  window.outOfSight = (is) => { Object.defineProperty(document, "hidden", { configurable: true, get: () => is });
    Object.defineProperty(document, "visibilityState", { configurable: true, get: () => (is ? "hidden" : "visible") });
    document.dispatchEvent(new Event("visibilitychange")); };
"""
# How long the stream of a page takes to say something.
_FIRST_WORD = """
  window.EventSource = class extends EventSource { constructor(...all) { super(...all); const from = performance.now();
    this.addEventListener("message", () => { window.firstWord ??= performance.now() - from; }); } };
"""


@pytest.fixture
def running(page: Page) -> Iterator[Page]:
    """A page with a long job on its stage; it is stopped afterwards."""
    write(page, "a white lighthouse by the sea", steps=LONG)
    generate(page)
    stage(page, "drawing")
    yield page
    for one in page.context.pages:
        if one.locator("#halt").is_visible():
            one.locator("#halt").click()
            expect(one.locator("#halt")).to_be_hidden()
            break


def steps(page: Page) -> int:
    return int((re.findall(r"Step (\d+)", page.locator(".stage-status").inner_text()) or ["0"])[0])


def reload(page: Page) -> tuple[float, float]:
    """Milliseconds until preview, line and form are back, and from the opening of the stream to its first word."""
    page.reload(wait_until="commit")
    begin = time.monotonic()
    expect(page.locator(".stage .is-preview")).to_be_visible()
    expect(page.locator(".line-list > li")).to_have_count(1)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a white lighthouse by the sea")
    expect(page.locator("#ctl-steps input[type=number]")).to_have_value(str(LONG))
    took = 1000 * (time.monotonic() - begin)
    told = page.evaluate("window.firstWord")
    page.locator('.stage[data-loaded="yes"]').wait_for()
    return took, told


@pytest.fixture
def bare(context: BrowserContext) -> Iterator[Page]:
    """A page of the framework with one field, beside the studio's."""
    with running_app("tests.bench.paced") as address:
        page = context.new_page()
        page.goto(address)
        yield page


@pytest.mark.timed
def test_after_a_reload_all_is_back_within_a_second(bare: Page, running: Page) -> None:
    job, before = running.locator(".stage").get_attribute("data-job"), steps(running)
    running.add_init_script(_FIRST_WORD)
    took: list[float] = []
    told: list[float] = []
    one_field: list[float] = []
    for _ in range(3):
        back, first = reload(running)
        took.append(back)
        told.append(first)
        bare.reload(wait_until="commit")
        begin = time.monotonic()
        expect(bare.get_by_label("Prompt")).to_be_visible()
        one_field.append(1000 * (time.monotonic() - begin))
    print(f"preview, line and form values after a reload: {', '.join(f'{one:.0f} ms' for one in took)}")
    print(f"first word of the stream after it was opened: {', '.join(f'{one:.0f} ms' for one in told)}")
    print(f"a page of the framework with one field, in turn with it: {', '.join(f'{one:.0f} ms' for one in one_field)}")
    assert running.locator(".stage").get_attribute("data-job") == job
    assert steps(running) > before
    assert min(told) < 1000
    # Within the second of the rule. Where other work has the cores even a page with one field is slow: then ours is held against the one beside it.
    assert any(back < max(1000, _BARE_TIMES * beside) for back, beside in zip(took, one_field, strict=True))


def test_a_second_tab_shows_the_same_and_stops_it(running: Page, studio: Studio) -> None:
    other = running.context.new_page()
    other.goto(studio.url)
    expect(other.locator(".stage .is-preview")).to_be_visible()
    assert other.locator(".stage").get_attribute("data-job") == running.locator(".stage").get_attribute("data-job")
    other.get_by_role("button", name="Stop", exact=True).click()
    begin = time.monotonic()
    stage(running, "stopped")
    print(f"the first tab knows {1000 * (time.monotonic() - begin):.0f} ms after the click in the second")
    stage(other, "stopped")


@pytest.mark.timed
def test_a_job_begun_in_another_tab_appears_in_an_idle_one(page: Page, studio: Studio) -> None:
    idle = page.context.new_page()
    open_studio(idle, studio)
    write(page, "a green robot", steps=LONG)
    generate(page)
    begin = time.monotonic()
    stage(idle, "drawing")
    took = 1000 * (time.monotonic() - begin)
    print(f"the idle tab follows {took:.0f} ms after the click in the other")
    page.get_by_role("button", name="Stop", exact=True).click()
    stage(idle, "stopped")
    assert took < 3000


@pytest.mark.timed
def test_a_line_that_dropped_is_taken_up_again(running: Page) -> None:
    cut = running.context.new_cdp_session(running)
    cut.send("Network.enable")
    away = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    cut.send("Network.emulateNetworkConditions", away)
    # Chromium leaves a stream that is open alone: as if the cable had been pulled, it is broken here.
    running.evaluate("window.dispatchEvent(new Event('offline'))")
    expect(running.locator(".stage-status")).to_contain_text("The connection is gone")
    cut.send("Network.emulateNetworkConditions", {**away, "offline": False})
    begin = time.monotonic()
    running.evaluate("window.dispatchEvent(new Event('online'))")
    expect(running.locator(".stage-status")).to_have_text(re.compile(r"Step \d+ of 200"))
    print(f"steps are counted again {1000 * (time.monotonic() - begin):.0f} ms after the line is back")
    assert time.monotonic() - begin < 3


@pytest.mark.timed
def test_a_phone_that_slept_through_the_end_catches_up(browser: Browser, studio: Studio) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    context.add_init_script(_STAND_IN)
    phone, other = context.new_page(), context.new_page()
    open_studio(phone, studio)
    open_studio(other, studio)
    write(phone, "a red castle in the desert", steps=60)
    generate(phone)
    stage(phone, "drawing")
    # Frozen: no script runs, no word arrives.
    freezer = context.new_cdp_session(phone)
    phone.evaluate("window.outOfSight(true)")
    freezer.send("Page.enable")
    freezer.send("Page.setWebLifecycleState", {"state": "frozen"})
    stage(other, "done")
    freezer.send("Page.setWebLifecycleState", {"state": "active"})
    begin = time.monotonic()
    phone.evaluate("window.outOfSight(false)")
    expect(phone.locator('.stage[data-kind="done"]')).to_be_visible()
    expect(phone.locator(".strip-list > li")).to_have_count(1)
    took = 1000 * (time.monotonic() - begin)
    print(f"the finished picture is on the phone {took:.0f} ms after it woke")
    expect(phone.locator("#halt")).to_be_hidden()
    assert took < 1500
    context.close()


def test_a_tab_that_nobody_sees_lets_go_and_catches_up(page: Page, context: BrowserContext, studio: Studio) -> None:
    page.add_init_script(_STAND_IN)
    open_studio(page, studio)
    page.evaluate("window.outOfSight(true)")
    # Six streams to one place is all that a browser has.
    expect(page.locator("body")).to_have_attribute("data-line", "resting")
    other = context.new_page()
    open_studio(other, studio)
    write(other, "a blue ship", steps=2)
    generate(other)
    stage(other, "done")
    expect(page.locator(".strip-list > li")).to_have_count(0)
    page.evaluate("window.outOfSight(false)")
    expect(page.locator(".strip-list > li")).to_have_count(1)


def test_a_server_that_was_killed_goes_on_with_the_page_open(browser: Browser, tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    try:
        studio.start()
        studio.wait_ready()
        port = studio.url.rsplit(":", 1)[1]
        page = context.new_page()
        page.set_default_timeout(30_000)
        open_studio(page, studio)
        write(page, "a yellow balloon over hills", steps=LONG)
        generate(page)
        stage(page, "drawing")
        studio.process.kill()
        studio.stop()
        expect(page.locator(".stage-status")).to_contain_text("The connection is gone")
        page.screenshot(path=SHOTS / "gone-1440.png")
        studio.flags = ("--port", port)
        studio.start()
        begin = time.monotonic()
        expect(page.locator(".stage-status")).to_have_text(re.compile(r"Step \d+ of 200"), timeout=60_000)
        print(f"the page draws on {time.monotonic() - begin:.1f} s after the studio answers again, with its worker loading meanwhile")
        page.get_by_role("button", name="Stop", exact=True).click()
        stage(page, "stopped")
    finally:
        context.close()
        studio.stop()


def test_the_title_counts_per_cent(running: Page) -> None:
    running.wait_for_function(r"/^\d+ % · Easel$/.test(document.title)")
    assert running.evaluate("parseInt(document.title)") <= 100
    running.get_by_role("button", name="Stop", exact=True).click()
    stage(running, "stopped")
    assert running.title() == "Easel"


def test_the_title_of_a_batch_counts_the_whole(page: Page) -> None:
    seen = "() => { window.titles = []; new MutationObserver(() => window.titles.push(parseInt(document.title))).observe(document.querySelector('title'), { childList: true }); }"
    page.evaluate(seen)
    write(page, "a batch of towers", steps=12)
    chip(page, "count", "2")
    generate(page)
    stage(page, "drawing")
    stage(page, "done")
    shares = page.evaluate("window.titles.filter((one) => !Number.isNaN(one))")
    print(f"per cent in the title: {shares}")
    assert shares == sorted(shares)
    assert shares[-1] > 60


@pytest.fixture
def heard(browser: Browser, studio: Studio) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(30_000)
    context.add_init_script(_STAND_IN)
    page = context.new_page()
    open_studio(page, studio)
    yield page
    context.close()


def finish_one(page: Page) -> None:
    write(page, "a red car", steps=2)
    before = page.locator(".strip-list > li").count()
    generate(page)
    expect(page.locator(".strip-list > li")).to_have_count(before + 1)
    stage(page, "done")


def test_nothing_sounds_or_pops_up_unasked(heard: Page) -> None:
    finish_one(heard)
    assert heard.evaluate("[window.tones, window.notes.length, window.asked]") == [0, 0, 0]


def test_a_sound_at_the_end_once_it_was_asked_for(heard: Page) -> None:
    heard.get_by_role("button", name="Settings", exact=True).click()
    heard.get_by_label("A short sound").check()
    assert heard.evaluate("window.tones") == 2
    heard.screenshot(path=SHOTS / "settings-1440-dark.png")
    heard.keyboard.press("Escape")
    expect(heard.get_by_role("dialog")).to_be_hidden()
    finish_one(heard)
    heard.wait_for_function("window.tones === 4")
    # Remembered.
    heard.reload()
    heard.locator('.stage[data-loaded="yes"]').wait_for()
    finish_one(heard)
    heard.wait_for_function("window.tones === 2")


def test_a_notification_only_out_of_sight_and_only_where_it_was_allowed(heard: Page) -> None:
    heard.get_by_role("button", name="Settings", exact=True).click()
    box = heard.get_by_label("A notification")
    heard.evaluate("window.answer = 'denied'")
    box.click()
    expect(heard.locator(".settings-said")).to_contain_text("does not allow it")
    expect(box).not_to_be_checked()
    heard.evaluate("window.answer = 'granted'; Notification.permission = 'default'")
    box.click()
    expect(heard.locator(".settings-said")).to_contain_text("You will be told")
    expect(box).to_be_checked()
    assert heard.evaluate("window.asked") == 2
    heard.get_by_role("button", name="Close", exact=True).last.click()
    finish_one(heard)
    assert heard.evaluate("window.notes") == []
    write(heard, "a long red car", steps=40)
    generate(heard)
    stage(heard, "drawing")
    heard.evaluate("window.outOfSight(true)")
    heard.wait_for_function("window.notes.length === 1", timeout=60_000)
    assert heard.evaluate("window.notes[0]") == "Easel: Your picture is finished."
    # A page that is loaded anew asks for nothing by itself.
    heard.reload()
    heard.locator('.stage[data-loaded="yes"]').wait_for()
    assert heard.evaluate("window.asked") == 0


def test_a_grid_is_told_once(heard: Page) -> None:
    heard.evaluate("localStorage.setItem('easel_sound', 'on')")
    unfold(heard, "More at once")
    chip(heard, "sheet", "Grid")
    heard.locator("#ctl-vary_x_values textarea, #ctl-vary_x_values input").fill("2, 5, 8")
    write(heard, "a red castle", steps=3)
    generate(heard)
    expect(heard.locator('.cell[data-state="done"]')).to_have_count(3, timeout=60_000)
    heard.wait_for_function("window.tones > 0")
    heard.wait_for_timeout(500)
    assert heard.evaluate("window.tones") == 2
