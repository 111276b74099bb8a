"""The mask editor in a real browser: mouse, touch, undo, zoom, memory, and growing the frame."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.bench.pictures import strokes_of
from tests.browser.conftest import SHOTS, open_studio
from tests.browser.hands import bring, canvas, chip, generate, picture_of, refused, shown_picture, size_shown, stage, stroke, strokes, tab, write
from tests.studio import Studio

pytestmark = pytest.mark.browser


@pytest.fixture
def inpaint(page: Page) -> Page:
    """The Inpaint tab with a picture of 256 × 256."""
    tab(page, "Inpaint")
    expect(page.locator(".editor-none")).to_be_visible()
    bring(page, picture_of(), "256 × 256")
    return page


def zoom(page: Page) -> float:
    return float(page.locator(".editor-zoom").inner_text().split()[0])


def test_painting_changes_the_masked_part_only(inpaint: Page, studio: Studio) -> None:
    _, x, y = canvas(inpaint)
    stroke(inpaint, x, y)
    strokes(inpaint, 1)
    write(inpaint, "a blue castle", steps=8)
    generate(inpaint)
    stage(inpaint, "done")
    made, source = (np.asarray(one, int) for one in (shown_picture(inpaint, studio), Image.open(io.BytesIO(picture_of())).convert("RGB")))
    changed = np.abs(made - source).max(-1) > 0
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    print(f"changed: rows {rows[0]}–{rows[-1]}, columns {columns[0]}–{columns[-1]} of 256")
    # A line of 40 pixels from the middle to the right, and a feather of 8: nothing else may differ by a single bit.
    assert changed.sum() > 500
    assert rows[0] >= 128 - 20 - 10
    assert rows[-1] <= 128 + 20 + 10
    assert columns[0] >= 128 - 20 - 10
    assert columns[-1] <= 128 + 20 + 10 + 80


def test_the_mask_survives_generate_a_tab_switch_and_a_reload(inpaint: Page) -> None:
    _, x, y = canvas(inpaint)
    stroke(inpaint, x - 60, y)
    stroke(inpaint, x, y + 60)
    strokes(inpaint, 2)
    write(inpaint, "a blue castle", steps=2)
    generate(inpaint)
    stage(inpaint, "done")
    strokes(inpaint, 2)
    tab(inpaint, "Text")
    tab(inpaint, "Inpaint")
    strokes(inpaint, 2)
    inpaint.reload()
    strokes(inpaint, 2)
    inpaint.get_by_role("button", name="Paint", exact=True).click()
    canvas(inpaint)
    inpaint.locator('[data-act="undo"]').click()
    strokes(inpaint, 1)


def test_undo_redo_tools_and_keys(inpaint: Page) -> None:
    _, x, y = canvas(inpaint)
    for offset in range(5):
        stroke(inpaint, x, y - 80 + 40 * offset, by=(30, 0))
    strokes(inpaint, 5)
    for left in (4, 3, 2, 1, 0):
        inpaint.keyboard.press("Control+z")
        strokes(inpaint, left)
    inpaint.keyboard.press("Control+Shift+z")
    inpaint.keyboard.press("Control+y")
    strokes(inpaint, 2)
    for key, name in (("e", "erase"), ("l", "lasso"), ("g", "fill"), ("b", "brush")):
        inpaint.keyboard.press(key)
        expect(inpaint.locator(f'[data-tool="{name}"]')).to_have_attribute("aria-pressed", "true")
    size = inpaint.get_by_label("Brush size in pixels")
    before = int(size.input_value())
    inpaint.keyboard.press("]")
    assert int(size.input_value()) > before
    inpaint.keyboard.press("i")
    strokes(inpaint, 3)
    inpaint.keyboard.press("Delete")
    strokes(inpaint, 4)
    write(inpaint, "a castle", steps=2)
    generate(inpaint)
    refused(inpaint, "The mask is empty.")


def test_without_a_mask_the_board_alone_is_marked_and_words_say_why(inpaint: Page) -> None:
    canvas(inpaint)
    write(inpaint, "a castle", steps=2)
    generate(inpaint)
    refused(inpaint, "Nothing is masked. Paint over what should change, or grow the frame.")
    expect(inpaint.locator(".editor.at-fault")).to_be_visible()
    marked = """(one) => getComputedStyle(one).borderTopColor === "rgb(242, 133, 125)" """
    assert inpaint.locator(".editor-board").evaluate(marked)
    assert not inpaint.locator("#ctl-expand_left").evaluate(marked)


def test_lasso_and_fill_mark_areas(inpaint: Page, studio: Studio) -> None:
    _, x, y = canvas(inpaint)
    inpaint.keyboard.press("l")
    inpaint.mouse.move(x - 90, y - 90)
    inpaint.mouse.down()
    for corner in ((90, -90), (90, 90), (-90, 90)):
        inpaint.mouse.move(x + corner[0], y + corner[1], steps=3)
    inpaint.mouse.up()
    strokes(inpaint, 1)
    inpaint.keyboard.press("i")
    inpaint.keyboard.press("g")
    inpaint.mouse.click(x, y)
    strokes(inpaint, 3)
    # Inverted, then the hole filled: all of it is masked now, and nearly every pixel is drawn anew.
    write(inpaint, "a forest at night", steps=4)
    generate(inpaint)
    stage(inpaint, "done")
    made, source = (np.asarray(one, int) for one in (shown_picture(inpaint, studio), Image.open(io.BytesIO(picture_of())).convert("RGB")))
    assert (np.abs(made - source).max(-1) > 0).mean() > 0.9


def test_zoom_and_pan_paint_where_the_hand_is(inpaint: Page) -> None:
    found, x, y = canvas(inpaint)
    fitted = zoom(inpaint)
    inpaint.mouse.move(x, y)
    inpaint.mouse.wheel(0, -600)
    inpaint.wait_for_timeout(200)
    assert zoom(inpaint) > 1.5 * fitted
    inpaint.keyboard.down("Space")
    inpaint.mouse.down()
    inpaint.mouse.move(x + 120, y, steps=4)
    inpaint.mouse.up()
    inpaint.keyboard.up("Space")
    strokes(inpaint, 0)
    stroke(inpaint, x + 120, y, by=(10, 0))
    strokes(inpaint, 1)
    kept = inpaint.evaluate("JSON.parse(localStorage.easel_masks)[0].strokes[0].points.slice(0, 2)")
    print(f"painted at {kept}, the middle of the picture")
    # What was under the hand before the move is under it after: the middle of the picture.
    assert kept == pytest.approx([128, 128], abs=2)
    inpaint.keyboard.press("0")
    inpaint.wait_for_timeout(200)
    assert zoom(inpaint) == pytest.approx(fitted, rel=0.02)
    assert found.is_visible()


def test_painting_and_pinching_with_fingers(browser: Browser, studio: Studio) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=2)
    page = context.new_page()
    open_studio(page, studio)
    tab(page, "Inpaint")
    bring(page, picture_of(), "256 × 256")
    page.locator(".editor-board").scroll_into_view_if_needed()
    _, x, y = canvas(page)
    hand = context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": px, "y": py, "id": number} for number, (px, py) in enumerate(points)]
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    scrolled = page.evaluate("scrollY")
    touch("touchStart", (x - 60, y))
    for step in range(1, 7):
        touch("touchMove", (x - 60 + 20 * step, y + 5 * step))
    touch("touchEnd")
    strokes(page, 1)
    assert page.evaluate("scrollY") == scrolled
    before = zoom(page)
    touch("touchStart", (x - 30, y))
    touch("touchStart", (x - 30, y), (x + 30, y))
    for step in range(1, 7):
        touch("touchMove", (x - 30 - 12 * step, y), (x + 30 + 12 * step, y))
    touch("touchEnd")
    page.wait_for_timeout(200)
    assert zoom(page) > 1.5 * before
    strokes(page, 1)
    page.screenshot(path=SHOTS / "inpaint-touch-390.png")
    write(page, "a blue castle", steps=3)
    generate(page)
    stage(page, "done")
    context.close()


def test_the_frame_grows_by_dragging_and_by_typing(inpaint: Page, studio: Studio) -> None:
    _, x, y = canvas(inpaint)
    scale = zoom(inpaint) / 100
    edge = x + 128 * scale
    inpaint.mouse.move(edge + 4, y)
    inpaint.mouse.down()
    inpaint.mouse.move(edge + 4 + 64 * scale, y, steps=6)
    inpaint.mouse.up()
    expect(inpaint.locator("#ctl-expand_right")).to_have_value("64")
    top = inpaint.locator("#ctl-expand_top")
    top.fill("32")
    top.press("Tab")
    expect(inpaint.locator(".editor-words")).to_contain_text("grows to 320 × 288")
    chip(inpaint, "fill", "Colours around")
    write(inpaint, "a red tower under a wide sky", steps=8)
    generate(inpaint)
    stage(inpaint, "done")
    assert size_shown(inpaint) == (320, 288)
    made = np.asarray(shown_picture(inpaint, studio), int)
    source = np.asarray(Image.open(io.BytesIO(picture_of())).convert("RGB"), int)
    # The old picture lies where it was; only a strip of 24 pixels and the feather beside the seam may change.
    assert (made[32 + 40 : 288, 0 : 256 - 40] == source[40:, : 256 - 40]).all()
    inpaint.screenshot(path=SHOTS / "outpainted-1440.png")


def test_reuse_brings_the_mask_back(inpaint: Page) -> None:
    _, x, y = canvas(inpaint)
    stroke(inpaint, x, y)
    write(inpaint, "a blue castle", steps=2)
    generate(inpaint)
    stage(inpaint, "done")
    inpaint.get_by_role("button", name="Paint", exact=True).click()
    inpaint.keyboard.press("Control+z")
    strokes(inpaint, 0)
    inpaint.get_by_role("button", name="Result", exact=True).click()
    inpaint.locator(".stage-actions").get_by_text("Reuse settings").click()
    expect(inpaint.locator(".editor-words")).to_have_text("The mask of an earlier picture.", timeout=10_000)
    generate(inpaint)
    stage(inpaint, "done")
    expect(inpaint.locator(".strip-list li")).to_have_count(2)


def test_a_mask_comes_from_a_file(inpaint: Page) -> None:
    canvas(inpaint)
    mask = Image.new("L", (256, 256))
    mask.paste(255, (0, 0, 128, 256))
    target = io.BytesIO()
    mask.save(target, "PNG")
    file = inpaint.locator(".editor-file")
    file.set_input_files({"name": "mask.png", "mimeType": "image/png", "buffer": picture_of(64, 64)})
    expect(inpaint.locator(".editor-words")).to_have_text("The mask is 64 × 64 and the source 256 × 256. Use a mask of the same size.")
    file.set_input_files({"name": "mask.png", "mimeType": "image/png", "buffer": target.getvalue()})
    expect(inpaint.locator(".editor-words")).to_have_text("The mask of an earlier picture.")
    inpaint.reload()
    inpaint.locator('.stage[data-loaded="yes"]').wait_for(state="attached")
    expect(inpaint.locator(".editor-words")).to_have_text("The mask of an earlier picture.")
    write(inpaint, "a blue castle", steps=2)
    generate(inpaint)
    stage(inpaint, "done")


@pytest.mark.timed
def test_two_hundred_strokes_over_a_large_picture_are_accepted_at_once(page: Page) -> None:
    tab(page, "Inpaint")
    bring(page, picture_of(4096, 3072), "4096 × 3072")
    canvas(page)
    source = page.locator(".editor").get_attribute("data-source")
    for stale in range(3):
        painted = {"source": source, "base": None, "base_url": None, "strokes": strokes_of(stale), "expand": [0, 0, 0, 0]}
        page.evaluate("(painted) => localStorage.setItem('easel_masks', JSON.stringify([painted]))", painted)
        page.reload()
        strokes(page, 200)
        page.locator('.stage[data-loaded="yes"]').wait_for(state="attached")
        write(page, f"a castle {stale}", steps=1)
        page.evaluate("""() => { const stage = document.querySelector('.stage'), before = stage.dataset.job;
          new MutationObserver(() => { if (stage.dataset.job && stage.dataset.job !== before && !window.took) window.took = performance.now() - window.pressed; })
            .observe(stage, { attributes: true, attributeFilter: ['data-job'] });
          document.getElementById('go').addEventListener('click', () => { window.pressed = performance.now(); }, { capture: true }); }""")
        generate(page)
        page.wait_for_function("window.took")
        took = page.evaluate("window.took")
        print(f"click to accepted: {took:.0f} ms at 4096 × 3072 with 200 strokes")
        stage(page, "done")
    # 300 ms on a quiet machine; the tests share theirs with other work.
    assert took < 3000


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_on_a_phone_the_four_sides_stand_in_even_rows(page: Page, theme: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("(isDark) => document.body.classList.toggle('dark', isDark)", theme == "dark")
    tab(page, "Inpaint")
    boxes = [one.bounding_box() for one in page.locator(".editor-grow input").all()]
    rows = [round(box["y"]) for box in boxes if box is not None]
    assert sorted(rows.count(row) for row in set(rows)) in ([4], [2, 2])
    assert all(box is not None and box["height"] >= 44 and box["x"] + box["width"] <= 390 for box in boxes)
    page.locator(".editor-grow").scroll_into_view_if_needed()
    page.screenshot(path=SHOTS / f"grow-390-{theme}.png")
