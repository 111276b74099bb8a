"""What a newcomer does: type, press Generate, see a picture form, keep it."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect

from engine.library.metadata import read_recipe
from tests.browser.conftest import SHOTS, open_studio
from tests.browser.hands import generate, refused, stage, unfold, write
from tests.studio import Studio

pytestmark = pytest.mark.browser

# Every source that the stage's picture has had, kept in the page: no frame can slip between two looks.
_COLLECT = """() => { window.seen = new Set();
  const image = document.querySelector('.stage-picture');
  new MutationObserver(() => { if (image.src.startsWith('data:')) window.seen.add(image.src); }).observe(image, { attributes: true, attributeFilter: ['src'] }); }"""


def test_a_picture_forms_and_can_be_kept(page: Page, studio: Studio) -> None:
    write(page, "a red castle in the mountains at sunset", steps=40)
    page.evaluate(_COLLECT)
    generate(page)
    stage(page, "drawing")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    stage(page, "done")
    previews = page.evaluate("window.seen.size")
    print(f"{previews} different previews in a run of 40 steps")
    assert previews >= 5
    expect(page.locator(".stage-picture")).to_have_attribute("alt", "a red castle in the mountains at sunset")
    expect(page.locator(".stage-facts")).to_contain_text(re.compile(r"seed \d+ · 256 × 256 · 40 steps"))
    expect(page.locator(".strip-list li")).to_have_count(1)
    with page.expect_download() as download:
        page.locator(".stage-actions").get_by_text("Download").click()
    content = download.value.path().read_bytes()
    assert re.fullmatch(r"easel-\d+\.png", download.value.suggested_filename)
    assert read_recipe(io.BytesIO(content)).steps == 40
    assert Image.open(io.BytesIO(content)).size == (256, 256)


def test_a_reload_finds_the_running_job(page: Page) -> None:
    write(page, "a white lighthouse by the sea", steps=200)
    generate(page)
    stage(page, "drawing")
    job = page.locator(".stage").get_attribute("data-job")
    page.reload()
    stage(page, "drawing")
    assert page.locator(".stage").get_attribute("data-job") == job
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a white lighthouse by the sea")
    page.get_by_role("button", name="Stop").click()
    stage(page, "stopped")
    expect(page.locator(".stage-status")).to_have_text(re.compile(r"Stopped after step \d+"))
    expect(page.get_by_role("button", name="Generate")).to_be_visible()


def test_escape_stops_and_ctrl_enter_starts(page: Page) -> None:
    write(page, "a green robot", steps=200)
    page.keyboard.press("Control+Enter")
    stage(page, "drawing")
    page.keyboard.press("Escape")
    stage(page, "stopped")


def test_an_error_explains_itself_at_its_control(page: Page) -> None:
    write(page, "   ")
    generate(page)
    refused(page, "The prompt is empty. Write what you want to see")
    expect(page.locator(".stage-example").first).to_be_visible()
    expect(page.locator("#ctl-prompt.at-fault")).to_be_visible()
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
    write(page, "a blue ship", steps=3)
    generate(page)
    stage(page, "done")
    expect(page.locator(".at-fault")).to_have_count(0)


def test_a_finished_picture_is_there_after_a_reload_and_gives_its_settings_back(page: Page) -> None:
    write(page, "a yellow balloon over hills", steps=3)
    generate(page)
    stage(page, "done")
    seed = re.search(r"seed (\d+)", page.locator(".stage-facts").inner_text())
    assert seed
    page.reload()
    stage(page, "done")
    expect(page.locator(".strip-list li")).to_have_count(1)
    write(page, "something else", steps=50)
    page.locator(".stage-actions").get_by_text("Reuse settings").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a yellow balloon over hills")
    expect(page.locator("#ctl-steps input[type=number]")).to_have_value("3")
    generate(page)
    expect(page.locator(".strip-list li")).to_have_count(2)
    stage(page, "done")
    expect(page.locator(".stage-facts")).to_contain_text(f"seed {seed[1]} ")


def test_an_example_draws_at_a_click(page: Page) -> None:
    first = page.locator(".stage-example").first
    words = first.inner_text().strip()
    first.click()
    stage(page, "done")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(words)


def test_a_refusal_leaves_the_stage_and_leads_into_the_closed_fold(page: Page) -> None:
    write(page, "a castle __nosuchlist__", steps=2)
    generate(page)
    refused(page, "nosuchlist")
    expect(page.locator(".stage-example").first).to_be_visible()
    unfold(page, "Expert")
    page.get_by_label("Own width").fill("250")
    page.get_by_role("button", name="Expert").click()
    expect(page.get_by_label("Own width")).to_be_hidden()
    write(page, "a castle", steps=2)
    generate(page)
    refused(page, "Own width cannot be '250'")
    expect(page.get_by_label("Own width")).to_be_focused()
    expect(page.get_by_label("Own width")).to_be_in_viewport()
    expect(page.locator(".stage-example").first).to_be_visible()
    page.get_by_label("Own width").fill("256")
    expect(page.locator(".refusal")).to_be_hidden()


def test_an_example_keeps_no_seed_and_reuse_keeps_its_own_in_sight(page: Page) -> None:
    seeds: list[str] = []

    def drawn() -> str:
        expect(page.locator(".strip-list li")).to_have_count(len(seeds) + 1)
        stage(page, "done")
        return page.locator(".stage-facts").inner_text().split(" · ")[0].removeprefix("seed ")

    mark = page.locator(".seed-kept")
    write(page, "", steps=2)
    page.locator(".stage-example").first.click()
    seeds.append(drawn())
    expect(mark).to_be_hidden()
    generate(page)
    seeds.append(drawn())
    assert seeds[0] != seeds[1], "the example's seed was kept"
    page.locator(".stage-actions").get_by_text("Reuse settings").click()
    expect(mark).to_have_text(f"Seed {seeds[1]} kept✕")
    page.reload()
    stage(page, "done")
    expect(mark).to_be_visible()
    unfold(page, "Expert")
    expect(page.get_by_label("Keep this seed")).to_be_checked()
    mark.click()
    expect(mark).to_be_hidden()
    expect(page.get_by_label("Keep this seed")).not_to_be_checked()
    generate(page)
    seeds.append(drawn())
    assert len(set(seeds)) == 3
    page.get_by_label("Keep this seed").check()
    expect(mark).to_be_visible()


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_no_word_of_generate_is_cut_off_while_something_runs(context: BrowserContext, studio: Studio, width: int) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 844})
    open_studio(page, studio)
    page.locator("body").evaluate("body => body.toggleAttribute('data-running', true)")
    measure = """(go, words) => {
      go.textContent = words;
      const range = document.createRange();
      range.selectNodeContents(go);
      const text = range.getBoundingClientRect(), box = go.getBoundingClientRect(), halt = document.getElementById("halt").getBoundingClientRect();
      return [text.left - box.left, box.right - text.right, text.top - box.top, box.bottom - text.bottom, halt.left - box.right, innerWidth - halt.right];
    }"""
    for words in ("Generate  ≈ 9 s", "Generate  ≈ 40 s", "Generate\n≈ 12 s · 2nd in line", "Generate\n≈ 120 min · 12th in line"):
        room = page.locator("#go").evaluate(measure, words)
        assert min(room) >= 2, f"{words!r} at {width}: {room}"


def test_a_closed_fold_says_what_acts_inside_it(page: Page) -> None:
    unfold(page, "What you do not want")
    page.get_by_label("Negative prompt").fill("blurry, low quality, text")
    unfold(page, "Expert")
    page.get_by_label("Seed", exact=True).fill("41")
    page.get_by_label("Keep this seed").check()
    page.get_by_label("Own width").fill("128")
    page.wait_for_function("JSON.stringify(localStorage).includes('easel_form')")
    page.reload()
    page.locator('.stage[data-loaded="yes"]').wait_for()
    expect(page.get_by_role("button", name="What you do not want blurry, low quality,…")).to_be_visible()
    expect(page.get_by_role("button", name="Expert seed kept, own size")).to_be_visible()
    expect(page.locator("#guidance-fold [data-says]")).to_have_count(0)
    page.locator(".seed-kept").click()
    expect(page.get_by_role("button", name="Expert own size")).to_be_visible()


def test_a_second_visitor_sees_nothing(page: Page, browser: Browser, studio: Studio) -> None:
    write(page, "a castle called zephyr", steps=3)
    generate(page)
    stage(page, "done")
    other = browser.new_context()
    stranger = other.new_page()
    open_studio(stranger, studio)
    expect(stranger.locator(".stage-example").first).to_be_visible()
    expect(stranger.locator(".strip-list li")).to_have_count(0)
    assert "zephyr" not in stranger.content()
    other.close()


def test_hostile_words_stay_words(page: Page) -> None:
    write(page, '<img src=x onerror="window.broken=1"><script>window.broken=1</script>', steps=2)
    generate(page)
    stage(page, "done")
    page.reload()
    stage(page, "done")
    assert page.evaluate("window.broken === undefined")


@pytest.mark.parametrize(("width", "height"), [(390, 844), (768, 1024), (1440, 900), (1920, 1080)])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_scrolls_sideways_and_generate_is_in_sight(browser: Browser, studio: Studio, width: int, height: int, theme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.add_init_script(f"localStorage.setItem('easel_theme', '{theme}')")
    open_studio(page, studio)
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"empty-{width}-{theme}.png")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    box = page.get_by_role("button", name="Generate").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= height
    assert box["height"] >= 44
    write(page, "a red car in the desert at sunset", steps=12)
    generate(page)
    stage(page, "done")
    page.locator(".stage-picture").evaluate("image => image.decode()")
    page.screenshot(path=SHOTS / f"done-{width}-{theme}.png")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def test_keys_are_explained(page: Page) -> None:
    page.locator("#keys-open").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_expert_controls_are_used_and_never_hide_generate(page: Page) -> None:
    unfold(page, "Expert")
    page.get_by_label("Own width").fill("128")
    page.get_by_label("Own height").fill("192")
    page.get_by_label("Seed", exact=True).fill("41")
    page.get_by_label("Keep this seed").check()
    button = page.get_by_role("button", name="Generate")
    expect(button).to_be_in_viewport(ratio=1)
    write(page, "a white tower", steps=4)
    generate(page)
    stage(page, "done")
    expect(page.locator(".stage-facts")).to_contain_text("seed 41 · 128 × 192 · 4 steps")
    page.get_by_label("Own width").fill("129")
    page.keyboard.press("Control+Enter")
    refused(page, "Own width cannot be '129'")
    stage(page, "done")
    expect(page.get_by_label("Own width")).to_be_focused()
