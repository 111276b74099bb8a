"""A picture comes in: by choosing, dropping, pasting, or from a result; and what is no picture says so."""

from __future__ import annotations

import base64
import io
import re
import zipfile

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SHOTS, open_studio
from tests.browser.hands import bring, chip, choose_file, generate, picture_of, refused, send, size_shown, stage, tab, write
from tests.studio import Studio

pytestmark = pytest.mark.browser

# A file as the browser hands it over, on the element that gets it.
_GIVE = """([kind, text, name]) => {
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0)), data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "image/png" }));
  const options = { bubbles: true, cancelable: true };
  document.body.dispatchEvent(kind === "drop" ? new DragEvent("drop", { ...options, dataTransfer: data }) : new ClipboardEvent("paste", { ...options, clipboardData: data }));
}"""


def give(page: Page, kind: str, content: bytes) -> None:
    page.evaluate(_GIVE, [kind, base64.b64encode(content).decode(), "given.png"])


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_file_is_dropped_or_pasted(page: Page, kind: str) -> None:
    give(page, kind, picture_of(320, 200))
    # On the Text tab there is no use for a source: the page goes where there is one.
    expect(page.get_by_role("tab", name="Image", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator(".source-name")).to_have_text("320 × 200")
    expect(page.get_by_label("384 × 256")).to_be_checked()
    write(page, "a red tower by the sea", steps=6)
    generate(page)
    stage(page, "done")
    assert size_shown(page) == (384, 256)


def test_strength_is_said_in_words_and_the_plot_marks_the_step(page: Page) -> None:
    tab(page, "Image")
    bring(page, picture_of(), "256 × 256")
    number = page.locator("#ctl-strength input[type=number]")
    for value, word in (("0.2", "Low"), ("0.6", "Middle"), ("0.95", "High")):
        number.fill(value)
        number.press("Tab")
        expect(page.locator(".for-img2img .schedule-words")).to_contain_text(word)
    start = page.locator(".for-img2img .schedule-start")
    assert float(start.get_attribute("x1") or "nan") == pytest.approx(0.05 * 320, abs=0.5)
    # Every place of the mark while the run goes on.
    page.evaluate("""() => { window.marks = new Set(); const now = document.querySelector('.for-img2img .schedule-now');
      new MutationObserver(() => { if (!now.hasAttribute('hidden')) window.marks.add(now.getAttribute('x1')); }).observe(now, { attributes: true }); }""")
    write(page, "a red tower by the sea", steps=40)
    generate(page)
    stage(page, "done")
    marks = [float(one) for one in page.evaluate("[...window.marks]")]
    print(f"the mark stood at {len(marks)} places, from {min(marks):.0f} to {max(marks):.0f} of 320")
    assert len(marks) >= 4
    assert marks == sorted(marks)
    assert float(start.get_attribute("x1") or "nan") <= min(marks)


def test_fit_is_seen_before_it_is_done(page: Page) -> None:
    tab(page, "Image")
    bring(page, picture_of(320, 160), "320 × 160")
    chip(page, "size", "256 × 256")
    frame = page.locator(".source-frame")
    expect(frame).to_have_css("aspect-ratio", "256 / 256")
    for label, style in (("Pad", "contain"), ("Stretch", "fill"), ("Crop", "cover")):
        chip(page, "fit", label)
        expect(page.locator(".source-frame img")).to_have_css("object-fit", style)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html><script>alert(1)</script></html>", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "not a picture"),
        (picture_of()[:400], "damaged or cut short"),
        (picture_of(8, 8), "only 8 × 8"),
        (b"PK\x03\x04 no zip at all", "zip cannot be opened"),
    ],
)
def test_what_is_no_picture_is_one_sentence(page: Page, content: bytes, words: str) -> None:
    tab(page, "Image")
    choose_file(page, "source.png", content)
    expect(page.locator(".source-error")).to_contain_text(words)
    expect(page.locator(".source-drop")).to_be_visible()


def test_without_a_source_the_control_is_named(page: Page) -> None:
    tab(page, "Image")
    write(page, "a red tower", steps=2)
    generate(page)
    refused(page, "There is no source picture.")
    expect(page.locator("#ctl-source.at-fault")).to_be_visible()


def test_a_file_that_is_no_picture_is_refused_in_sight_on_every_tab(page: Page) -> None:
    drop = """() => {
      const data = new DataTransfer();
      data.items.add(new File(["no picture"], "words.txt", { type: "text/plain" }));
      document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: data }));
    }"""
    page.evaluate(drop)
    refused(page, "Choose a PNG")
    expect(page.locator(".stage-example").first).to_be_visible()
    page.get_by_label("Close this message").click()
    expect(page.locator(".refusal")).to_be_hidden()
    # Where the source's own card is in sight, it says it.
    tab(page, "Image")
    page.evaluate(drop)
    expect(page.locator(".source-error")).to_be_visible()
    expect(page.locator(".refusal")).to_be_hidden()


def test_the_source_is_there_after_a_reload_and_for_nobody_else(page: Page, browser: Browser, studio: Studio) -> None:
    tab(page, "Upscale")
    bring(page, picture_of(200, 120), "200 × 120")
    page.reload()
    expect(page.get_by_role("tab", name="Upscale", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator(".source-name")).to_have_text("200 × 120")
    other = browser.new_context()
    stranger = other.new_page()
    open_studio(stranger, studio)
    tab(stranger, "Upscale")
    expect(stranger.locator(".source-drop")).to_be_visible()
    other.close()


def test_from_words_to_inpainting_to_a_large_picture(page: Page) -> None:
    write(page, "a white lighthouse by the sea", steps=8)
    generate(page)
    stage(page, "done")
    send(page, "Inpaint")
    expect(page.locator(".source-name")).to_have_text("256 × 256")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a white lighthouse by the sea")
    page.locator("#ctl-expand_right").fill("64")
    page.locator("#ctl-expand_right").press("Tab")
    generate(page)
    stage(page, "done")
    expect(page.locator(".stage-facts")).to_contain_text("320 × 256")
    send(page, "Upscale")
    expect(page.locator(".source-name")).to_have_text("320 × 256")
    generate(page)
    stage(page, "drawing")
    expect(page.locator(".stage-status")).to_have_text(re.compile(r"Tile \d of \d"))
    stage(page, "done")
    expect(page.locator(".stage-facts")).to_contain_text("640 × 512")
    page.screenshot(path=SHOTS / "upscaled-1440.png")


def test_a_zip_is_a_folder(page: Page) -> None:
    tab(page, "Image")
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("one.png", picture_of(128, 128))
        archive.writestr("two.png", picture_of(160, 128))
        archive.writestr("three.png", b"not a picture")
    choose_file(page, "sources.zip", target.getvalue(), "application/zip")
    expect(page.locator(".source-name")).to_have_text("sources.zip: 2 pictures")
    expect(page.locator(".source-note")).to_contain_text("1 files are no pictures")
    write(page, "a red tower", steps=3)
    generate(page)
    expect(page.locator(".stage-status")).to_have_text("2 of 3 drawn, 1 failed", timeout=60_000)
    with page.expect_download() as download:
        page.get_by_text("Download all").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert sorted(name.split("-", 1)[1] for name in archive.namelist() if name.endswith(".png")) == ["one-png.png", "two-png.png"]
        assert archive.read("recipes.jsonl").decode().count('"mode": "img2img"') == 2
