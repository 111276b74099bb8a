"""A real Chromium against the real app. A browser that is missing fails with the command that installs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.get_chromium import find
from tests.studio import Studio

_QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
SHOTS = Path(__file__).parent / "shots"
# How long a busy machine may take to show what is expected; a promise about time is measured where it is made.
expect.set_options(timeout=20_000)


@pytest.fixture(scope="package")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with Studio(tmp_path_factory.mktemp("studio")) as running:
        running.wait_ready()
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = find()
    if path is None:
        pytest.fail("No Chromium here. Install it with: python tests/browser/get_chromium.py")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=_QUIET)
        yield running
        running.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A visitor of their own: no cookie, no memory."""
    fresh = browser.new_context(viewport={"width": 1440, "height": 900})
    fresh.set_default_timeout(30_000)
    yield fresh
    fresh.close()


@pytest.fixture
def page(context: BrowserContext, studio: Studio) -> Page:
    opened = context.new_page()
    open_studio(opened, studio)
    return opened


def open_studio(page: Page, studio: Studio) -> None:
    """Load the page and wait until it can be used."""
    page.goto(studio.url)
    page.locator("#go, #halt").first.wait_for(state="attached")
    # The load event fills the form from the browser's memory; typing before it would be overwritten.
    page.locator('.stage[data-loaded="yes"]').wait_for()
