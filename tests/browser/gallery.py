"""The screenshots of the README: `python -m tests.browser.gallery` starts a studio, uses every tab and keeps what it sees."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.conftest import open_studio
from tests.browser.get_chromium import find
from tests.browser.hands import canvas, chip, generate, send, stage, stroke, tab, unfold, write
from tests.studio import ROOT, Studio

GALLERY = ROOT / "presets" / "gallery"


def keep(page: Page, name: str) -> None:
    page.wait_for_timeout(400)
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        shot.convert("RGB").save(GALLERY / f"{name}.jpg", quality=82, optimize=True)
    print(GALLERY / f"{name}.jpg", (GALLERY / f"{name}.jpg").stat().st_size // 1024, "kB")


def finish(page: Page) -> None:
    """Generate, and wait for one more picture in the tray."""
    before = page.locator(".strip-list li").count()
    generate(page)
    expect(page.locator(".strip-list li")).to_have_count(before + 1, timeout=120_000)
    stage(page, "done")
    page.locator(".stage-picture").evaluate("image => image.decode()")
    page.evaluate("scrollTo(0, 0), document.querySelector('#controls').scrollTo(0, 0)")


def draw(page: Page, words: str, *, steps: int = 24) -> None:
    write(page, words, steps=steps)
    finish(page)


def tour(browser: Browser, studio: Studio, width: int, height: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    open_studio(page, studio)
    for words in ("a red mushroom in a forest by day", "a purple crystal on an alien planet at night", "a blue windmill on green hills by day"):
        draw(page, words)
    keep(page, f"text-{width}")
    send(page, "Image")
    expect(page.locator(".source-name")).to_have_text("256 × 256")
    draw(page, "a blue windmill on green hills at night")
    keep(page, f"image-{width}")
    send(page, "Inpaint")
    page.locator("#ctl-expand_right").fill("96")
    page.locator("#ctl-expand_right").press("Tab")
    page.locator(".editor-board").scroll_into_view_if_needed()
    _, x, y = canvas(page)
    stroke(page, x - 120, y - 90, by=(90, 20))
    page.evaluate("scrollTo(0, 0)")
    keep(page, f"inpaint-{width}")
    chip(page, "fill", "Colours around")
    finish(page)
    send(page, "Upscale")
    expect(page.locator(".source-name")).to_have_text("352 × 256")
    finish(page)
    keep(page, f"upscale-{width}")
    tab(page, "Text")
    unfold(page, "More at once")
    chip(page, "sheet", "Grid")
    page.locator("#ctl-vary_x_values textarea, #ctl-vary_x_values input").fill("1, 3, 6")
    down = page.locator("#ctl-vary_y input")
    down.fill("Steps")
    down.press("Enter")
    down.press("Escape")
    down.blur()
    page.locator("#ctl-vary_y_values textarea, #ctl-vary_y_values input").fill("6, 24")
    write(page, "a yellow balloon over green hills by day")
    generate(page)
    expect(page.locator('.cell[data-state="done"]')).to_have_count(6, timeout=120_000)
    page.evaluate("scrollTo(0, 0)")
    keep(page, f"grid-{width}")
    context.close()


def main() -> int:
    path = find()
    if path is None:
        print("No Chromium here. Install it with: python tests/browser/get_chromium.py", file=sys.stderr)
        return 1
    GALLERY.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Studio(Path(folder)) as studio, sync_playwright() as playwright:
        studio.wait_ready()
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        for width, height in ((1440, 900), (390, 844)):
            tour(browser, studio, width, height)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
