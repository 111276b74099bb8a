"""Small things that a hand meets in a long session: what stays open, what a key reaches, where the focus goes, whose words run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import open_studio
from tests.browser.hands import bring, canvas, chip, generate, picture_of, stage, stroke, strokes, tab, unfold, write
from tests.conftest import STARTER
from tests.studio import Studio

pytestmark = pytest.mark.browser


def draw(page: Page, words: str = "a red castle") -> None:
    before = page.locator(".strip-list > li").count()
    write(page, words, steps=2)
    generate(page)
    expect(page.locator(".strip-list > li")).to_have_count(before + 1, timeout=60_000)
    stage(page, "done")


def test_a_menu_stays_open_while_another_picture_is_drawn(page: Page) -> None:
    draw(page)
    write(page, "a blue tower", steps=150)
    generate(page)
    stage(page, "drawing")
    page.locator(".strip-open").first.click()
    page.locator('.stage-actions [data-do="send"]').click()
    page.wait_for_timeout(1200)
    expect(page.locator("#halt")).to_be_visible()
    expect(page.locator(".stage-menu")).to_be_visible()
    expect(page.get_by_role("menuitem").first).to_be_focused()
    page.keyboard.press("Escape")
    page.locator("#halt").click()


def test_what_can_be_taken_back_is_said_for_ten_seconds_and_in_reach(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    draw(page)
    page.locator(".strip-delete").first.click()
    undo = page.locator(".strip-undo")
    expect(undo).to_be_visible()
    box = undo.bounding_box()
    assert box
    at = page.evaluate("([x, y]) => document.elementFromPoint(x, y).className", [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])
    assert at == "strip-undo"
    page.wait_for_timeout(7000)
    expect(undo).to_be_visible()
    expect(page.locator(".strip-said")).to_be_hidden(timeout=10_000)


def test_the_first_change_of_a_newcomer_can_be_taken_back(page: Page) -> None:
    expect(page.locator("#undo")).to_be_disabled()
    first = page.locator("#ctl-size input:checked").get_attribute("value")
    chip(page, "size", "256 × 384")
    expect(page.locator("#undo")).to_be_enabled()
    page.wait_for_timeout(800)
    page.locator("#undo").click()
    expect(page.locator("#ctl-size input:checked")).to_have_attribute("value", str(first))


def test_arrows_move_the_slider_that_has_the_focus(page: Page) -> None:
    unfold(page, "LoRA styles")
    card = page.locator('.rack-card[data-name="neon"]')
    card.get_by_role("checkbox").check()
    card.locator("summary", has_text="Blocks").click()
    middle = card.locator('input[type=range][data-part="mid"]')
    middle.focus()
    page.keyboard.press("ArrowRight")
    expect(middle).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(middle).to_have_value("1.1")
    assert [one.input_value() for one in card.locator("input[type=range]").all() if one.get_attribute("data-part") not in ("down", "mid", "up")] == [
        "1"
    ]


def test_letters_in_a_list_choose_there_and_do_nothing_else(page: Page) -> None:
    draw(page, "a red castle")
    page.locator("#ctl-prompt textarea").fill("a blue tower")
    page.locator(".stage-save select").focus()
    page.keyboard.press("u")
    page.keyboard.press("f")
    page.wait_for_timeout(500)
    expect(page.locator("#ctl-prompt textarea")).to_have_value("a blue tower")
    expect(page.locator(".stage.is-full")).to_have_count(0)


def test_delete_in_the_results_spares_the_mask(page: Page) -> None:
    draw(page)
    tab(page, "Inpaint")
    bring(page, picture_of(), "256 × 256")
    _, x, y = canvas(page)
    stroke(page, x, y)
    strokes(page, 1)
    count = page.locator(".strip-list > li").count()
    page.locator(".strip-open").first.focus()
    page.keyboard.press("Delete")
    expect(page.locator(".strip-list > li")).to_have_count(count - 1)
    strokes(page, 1)


def test_reuse_behind_the_models_shows_the_form(page: Page) -> None:
    draw(page)
    tab(page, "Models")
    expect(page.locator("#ctl-prompt")).to_be_hidden()
    page.locator('.stage-actions [data-do="reuse"]').click()
    expect(page.locator("#ctl-prompt")).to_be_visible()


def test_the_focus_stays_near_what_was_removed(page: Page) -> None:
    tab(page, "ControlNet")
    page.locator("#units .card-remove").first.press("Enter")
    expect(page.locator("#units .units-body > .units-add")).to_be_focused()


def test_full_screen_keeps_the_keyboard(page: Page) -> None:
    draw(page)
    page.locator('.stage-actions [data-do="full"]').click()
    expect(page.locator(".stage.is-full")).to_be_visible()
    for _ in range(15):
        page.keyboard.press("Tab")
        assert not page.evaluate("() => Boolean(document.activeElement.closest('#tray, #controls, .top'))")
    page.keyboard.press("Escape")
    expect(page.locator(".stage.is-full")).to_have_count(0)
    page.locator("#ctl-prompt textarea").click()
    expect(page.locator("#ctl-prompt textarea")).to_be_focused()


def test_a_models_title_is_text_and_never_a_program(browser: Browser, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(STARTER, tmp_path / "data" / "models" / "odd"))
    title = "${alert(1)} \\x `odd` {{7}}"
    (folder / "easel.json").write_text(json.dumps(json.loads((folder / "easel.json").read_text()) | {"title": title}))
    with Studio(tmp_path / "data", "--model", "odd") as studio:
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        asked: list[str] = []
        page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
        open_studio(page, studio)
        expect(page.locator(".top-model")).to_have_text(title)
        assert asked == []
        context.close()
