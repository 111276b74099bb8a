"""A short code from one device to another, and signing out."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from engine.library.passwords import hashed_line
from tests.browser.conftest import SHOTS, open_studio
from tests.browser.hands import generate, stage, write
from tests.studio import Studio

pytestmark = pytest.mark.browser


def settings(page: Page) -> None:
    page.get_by_role("button", name="Settings", exact=True).click()
    expect(page.get_by_role("dialog", name="Settings")).to_be_visible()


@pytest.fixture
def phone(browser: Browser, studio: Studio) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    context.set_default_timeout(30_000)
    opened = context.new_page()
    open_studio(opened, studio)
    yield opened
    context.close()


def draw(page: Page, words: str, *, steps: int = 2) -> None:
    write(page, words, steps=steps)
    generate(page)
    expect(page.locator(".strip-list img").first).to_have_attribute("alt", words, timeout=60_000)
    stage(page, "done")


def show_code(page: Page) -> str:
    settings(page)
    page.get_by_role("button", name="Show a code").click()
    code = page.locator("#code")
    expect(code).to_have_text(re.compile(r"^[A-Z2-9]{4} [A-Z2-9]{4}$"))
    expect(page.locator("#code-left")).to_have_text(re.compile(r"good once, for [23]:\d\d"))
    return code.inner_text()


def enter(page: Page, code: str) -> None:
    settings(page)
    page.get_by_label("Code from the other device").fill(code)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_running_job_moves_to_the_desk(phone: Page, page: Page, theme: str) -> None:
    phone.evaluate(f"document.body.classList.toggle('dark', {str(theme == 'dark').lower()})")
    draw(phone, "a picture of the phone")
    write(phone, "a long one of the phone", steps=200)
    generate(phone)
    stage(phone, "drawing")
    code = show_code(phone)
    phone.screenshot(path=SHOTS / f"code-390-{theme}.png")
    assert phone.evaluate(
        "[...document.querySelectorAll('#settings button, #settings input:not([type=checkbox]), .settings-check')].every((one) => !one.offsetParent || one.getBoundingClientRect().height >= 44)"
    )
    enter(page, code.lower().replace(" ", ""))
    # This device has nothing of its own, so nothing is asked.
    expect(page.locator("#code-brings")).to_be_hidden()
    page.get_by_role("button", name="Enter", exact=True).click()
    expect(page.locator(".stage-picture")).to_have_attribute("alt", "Preview: a long one of the phone")
    expect(page.locator(".strip-list img")).to_have_attribute("alt", "a picture of the phone")
    page.get_by_role("button", name="Stop", exact=True).click()
    phone.keyboard.press("Escape")
    stage(phone, "stopped")


def test_what_the_device_has_comes_along_if_that_is_wanted(phone: Page, page: Page) -> None:
    draw(phone, "of the phone")
    draw(page, "of the desk")
    enter(page, show_code(phone))
    box = page.get_by_label("Bring the picture of this device along")
    expect(box).to_be_checked()
    page.screenshot(path=SHOTS / "settings-code-1440.png")
    page.get_by_role("button", name="Enter", exact=True).click()
    expect(page.locator(".strip-list > li")).to_have_count(2)
    # The phone sees the newcomers too, without a reload.
    expect(phone.locator(".strip-list > li")).to_have_count(2)


def test_a_wrong_code_is_said_in_words_and_other_tabs_follow_a_right_one(phone: Page, page: Page, studio: Studio) -> None:
    draw(phone, "of the phone")
    other = page.context.new_page()
    open_studio(other, studio)
    enter(page, "AAAA AAAA")
    page.get_by_role("button", name="Enter", exact=True).click()
    expect(page.locator(".settings-said")).to_contain_text("wrong, used, or more than three minutes old")
    expect(page.get_by_label("Code from the other device")).to_be_focused()
    page.get_by_label("Code from the other device").fill(show_code(phone))
    page.keyboard.press("Enter")
    for tab in (page, other):
        expect(tab.locator(".strip-list img")).to_have_attribute("alt", "of the phone")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("locked")
    (folder / "people").write_text(hashed_line("ada", "correct horse battery") + "\n", encoding="utf-8")
    with Studio(folder / "data", "--auth-file", str(folder / "people")) as running:
        yield running


def sign_in(context: BrowserContext, studio: Studio) -> Page:
    page = context.new_page()
    page.goto(studio.url)
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Sign in").click()
    page.locator('.stage[data-loaded="yes"]').wait_for()
    return page


def test_signing_out(context: BrowserContext, locked: Studio) -> None:
    page, other = sign_in(context, locked), context.new_page()
    open_studio(other, locked)
    page.get_by_label("Prompt", exact=True).fill("a secret idea")
    page.wait_for_function("(localStorage.getItem('easel_form') || '').length > 0")
    settings(page)
    expect(page.get_by_role("button", name="Show a code")).to_have_count(0)
    page.screenshot(path=SHOTS / "settings-signed-in-1440.png")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(other.get_by_role("button", name="Sign in")).to_be_visible()
    # Whoever comes next finds neither the pictures nor the words.
    assert (
        page.evaluate("Object.keys(localStorage).filter((one) => one.startsWith('easel_') && !['easel_theme', 'easel_other_tabs'].includes(one))")
        == []
    )
    assert page.request.get(locked.url + "/tray").status == 401
    assert page.request.get(locked.url + "/follow").status == 401


def test_there_is_no_code_where_people_sign_in(context: BrowserContext, locked: Studio) -> None:
    page = sign_in(context, locked)
    for path, body in (("/device/code", {}), ("/device/join", {"code": "ABCD EFGH"})):
        assert page.request.post(locked.url + path, data=body, headers={"X-Easel": "1"}).status == 404
