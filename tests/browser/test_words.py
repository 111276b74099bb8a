"""The words on the page: counted, judged, styled, picked by name; and what sampler and steps will do."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch
from playwright.sync_api import Browser, Locator, Page, expect
from safetensors.torch import save_file

from tests.browser.conftest import SHOTS, open_studio
from tests.browser.hands import generate, stage, tab, unfold, write
from tests.studio import Studio

pytestmark = pytest.mark.browser


def prompt(page: Page) -> Locator:
    return page.get_by_label("Prompt", exact=True)


def under(page: Page, part: str, control: str = "prompt") -> Locator:
    return page.locator(f"#words-{control} .words-{part}")


def offers(page: Page) -> Locator:
    return page.get_by_role("listbox", name="What can be named here").get_by_role("option")


def open_styles(page: Page, search: str) -> None:
    page.get_by_role("button", name="Styles", exact=True).click()
    page.get_by_label("Search Styles").press_sequentially(search)


def open_negative(page: Page) -> Locator:
    page.get_by_role("button", name="What you do not want").click()
    return page.get_by_label("Negative prompt")


def test_the_counter_follows_the_hand_and_shows_chunks(page: Page) -> None:
    prompt(page).press_sequentially("a red castle", delay=5)
    expect(under(page, "count")).to_have_text("3 / 75")
    expect(under(page, "count")).to_have_attribute("aria-label", "3 of 75 tokens used in one chunk")
    prompt(page).fill("a red castle " * 30)
    expect(under(page, "count")).to_have_text("15 / 75 · 2 × 75")
    prompt(page).fill("a castle BREAK by the sea")
    expect(under(page, "count")).to_have_text("3 / 75 · 2 × 75")
    # What is written by the page itself is counted too.
    page.reload()
    page.locator('.stage[data-loaded="yes"]').wait_for()
    expect(under(page, "count")).to_have_text("3 / 75 · 2 × 75")
    negative = open_negative(page)
    negative.fill("blurry")
    expect(under(page, "count", "negative_prompt")).to_have_text(re.compile(r"^\d / 75$"))


def test_only_the_newest_answer_is_shown(page: Page) -> None:
    held: list[object] = []

    def late(route: object) -> None:
        # The first question is held back until the second was answered.
        if held:
            route.continue_()  # type: ignore[attr-defined]
        else:
            held.append(route)

    page.route("**/live/words", late)  # type: ignore[arg-type]
    prompt(page).fill("a castle")
    page.wait_for_timeout(400)
    prompt(page).fill("a red castle by the sea")
    expect(under(page, "count")).to_have_text("6 / 75")
    assert held
    held[0].continue_()  # type: ignore[attr-defined]
    page.wait_for_timeout(300)
    expect(under(page, "count")).to_have_text("6 / 75")


def test_what_the_model_never_saw_is_told_with_a_way_on(page: Page) -> None:
    prompt(page).fill("steampunk zeppelin over victorian london")
    new = under(page, "new")
    expect(new).to_contain_text("Most of these words are new to Easel starter: steampunk, zeppelin")
    page.get_by_role("button", name="Larger models").click()
    expect(new).to_contain_text("data/models")
    prompt(page).fill("a red castle in the mountains at sunset")
    expect(new).to_be_hidden()


@pytest.mark.parametrize(
    ("text", "said", "is_refusal"),
    [
        ("a castle <nobody>", "There is no embedding named nobody here", False),
        ("a castle __nowhere__", "There is no wildcard list named nowhere here", True),
        ("a (castle", "The ( has no partner", False),
        ("a castle <lora:nothing:1>", "There is no LoRA named nothing here", True),
    ],
)
def test_one_sentence_says_what_is_odd(page: Page, text: str, said: str, is_refusal: bool) -> None:
    prompt(page).fill(text)
    note = under(page, "note")
    expect(note).to_contain_text(said)
    assert ("is-refusal" in (note.get_attribute("class") or "")) is is_refusal
    expect(prompt(page)).to_have_attribute("aria-describedby", "note-prompt")
    prompt(page).fill("a castle")
    expect(note).to_have_text("")
    expect(prompt(page)).not_to_have_attribute("aria-invalid", "true")


def test_a_style_is_shown_applied_and_taken_back_exactly(page: Page) -> None:
    prompt(page).fill("a red castle")
    open_styles(page, "blueprint")
    shown = page.locator("#styles-prompt .styles-shown")
    expect(shown).to_contain_text("blueprint of a red castle, white lines on deep blue")
    expect(shown).to_contain_text("shading, colour, photograph")
    expect(prompt(page)).to_have_value("a red castle")
    page.keyboard.press("Enter")
    expect(prompt(page)).to_have_value(re.compile("^blueprint of a red castle, white lines"))
    # What went into the folded field can be read as well.
    expect(page.get_by_label("Negative prompt")).to_have_value("shading, colour, photograph")
    expect(page.get_by_label("Negative prompt")).to_be_visible()
    undo = page.get_by_role("button", name="Undo Blueprint")
    expect(undo).to_be_focused()
    page.wait_for_timeout(300)
    expect(undo).to_be_focused()
    undo.press("Enter")
    expect(prompt(page)).to_have_value("a red castle")
    expect(page.get_by_label("Negative prompt")).to_have_value("")
    expect(undo).to_be_hidden()


def test_the_forms_own_undo_takes_a_style_back_too(page: Page) -> None:
    prompt(page).fill("a red castle")
    open_styles(page, "ink wash")
    page.get_by_role("button", name="Apply").click()
    expect(prompt(page)).to_have_value(re.compile(".+a red castle.+|a red castle.+"))
    expect(page.get_by_role("button", name="Undo Ink wash")).to_be_focused()
    page.wait_for_timeout(300)
    page.keyboard.press("Control+z")
    expect(prompt(page)).to_have_value("a red castle")
    expect(page.get_by_role("button", name="Undo Ink wash")).to_be_hidden()


def test_styles_by_keyboard_and_escape(page: Page) -> None:
    page.get_by_role("button", name="Styles", exact=True).press("Enter")
    search = page.get_by_label("Search Styles")
    expect(search).to_be_focused()
    options = page.get_by_role("listbox", name="Styles").get_by_role("option")
    expect(options).to_have_count(49)
    first = search.get_attribute("aria-activedescendant")
    page.keyboard.press("ArrowDown")
    expect(search).not_to_have_attribute("aria-activedescendant", first or "")
    expect(page.get_by_role("option", selected=True)).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("#styles-prompt")).to_be_hidden()
    expect(page.get_by_role("button", name="Styles", exact=True)).to_be_focused()


def test_words_against_weak_spots(page: Page) -> None:
    negative = open_negative(page)
    negative.fill("blurry")
    page.get_by_role("button", name="Against weak spots").click()
    page.get_by_role("option", name=re.compile("^Better hands")).click()
    expect(page.locator("#styles-negative_prompt .styles-shown")).to_contain_text("blurry, malformed hands")
    page.locator("#styles-negative_prompt").get_by_role("button", name="Apply").click()
    expect(negative).to_have_value(re.compile("^blurry, malformed hands"))
    page.get_by_role("button", name="Undo Better hands").click()
    expect(negative).to_have_value("blurry")
    expect(prompt(page)).to_have_value("")


def test_names_are_picked_by_keyboard_and_undone_by_the_browser(page: Page) -> None:
    prompt(page).press_sequentially("a castle <")
    expect(offers(page).filter(has_text="neon")).to_be_visible()
    page.keyboard.type("ne")
    expect(offers(page)).to_have_count(1)
    expect(prompt(page)).to_have_attribute("aria-activedescendant", "offers-prompt-0")
    page.keyboard.press("Enter")
    expect(prompt(page)).to_have_value("a castle <lora:neon:0.8>")
    expect(offers(page)).to_have_count(0)
    page.keyboard.press("Control+z")
    expect(prompt(page)).to_have_value("a castle <ne")
    page.keyboard.press("Escape")
    prompt(page).press("End")
    page.keyboard.type("on> at __")
    expect(offers(page).first).to_contain_text("red, crimson")
    page.keyboard.press("ArrowDown")
    chosen = page.get_by_role("option", selected=True).locator("b").inner_text()
    page.keyboard.press("Enter")
    expect(prompt(page)).to_have_value(f"a castle <neon> at __{chosen}__")
    # A closed list is no beginning of another one.
    page.keyboard.type(" x")
    expect(offers(page)).to_have_count(0)


def test_escape_closes_the_list_and_stops_nothing(page: Page) -> None:
    write(page, "a red castle", steps=150)
    generate(page)
    expect(page.locator("#halt")).to_be_visible()
    prompt(page).press("End")
    page.keyboard.type(" __")
    expect(offers(page).first).to_be_visible()
    page.keyboard.press("Escape")
    expect(offers(page)).to_have_count(0)
    page.wait_for_timeout(200)
    expect(page.locator("#halt")).to_be_visible()
    page.keyboard.press("Escape")
    stage(page, "stopped")


def test_an_embedding_is_picked_and_one_that_does_not_fit_says_why(page: Page, studio: Studio) -> None:
    folder = studio.data / "embeddings"
    folder.mkdir(exist_ok=True)
    (folder / "old-mood.pt").write_bytes(b"pickled")
    save_file({"emb_params": torch.zeros(3, 256)}, folder / "my-mood.safetensors")
    prompt(page).press_sequentially("a castle <my")
    expect(offers(page)).to_contain_text("embedding · 3 vectors")
    offers(page).click()
    expect(prompt(page)).to_have_value("a castle <my-mood>")
    expect(prompt(page)).to_be_focused()
    expect(under(page, "count")).to_have_text("5 / 75")
    (folder / "my-mood.safetensors").unlink()
    prompt(page).fill("")
    prompt(page).press_sequentially("a castle <old")
    option = offers(page).filter(has_text="old-mood")
    expect(option).to_contain_text("pickle")
    expect(option).to_have_attribute("aria-disabled", "true")
    option.click(force=True)
    expect(prompt(page)).to_have_value("a castle <old")
    (folder / "old-mood.pt").unlink()


def test_words_that_change_on_the_way_are_drawn(page: Page) -> None:
    write(page, "a [red:blue:0.5] castle on green hills by day", steps=6)
    expect(under(page, "count")).to_have_text(re.compile(r"^\d+ / 75$"))
    expect(under(page, "note")).to_have_text("")
    generate(page)
    stage(page, "done")
    expect(page.locator(".strip-list li")).to_have_count(1)
    page.locator(".stage-actions").get_by_text("Reuse settings").click()
    expect(prompt(page)).to_have_value("a [red:blue:0.5] castle on green hills by day")


def test_samplers_are_grouped_and_pitfalls_are_told_but_never_block(page: Page) -> None:
    unfold(page, "Expert")
    sampler = page.get_by_label("Sampler")
    assert sampler.locator("optgroup").evaluate_all("all => all.map((one) => one.label)") == ["Converges", "Keeps exploring", "Few steps"]
    advice = page.get_by_label("About these steps")
    expect(advice).to_be_empty()
    sampler.select_option("euler_a")
    write(page, "a red castle", steps=6)
    expect(advice).to_contain_text("6 steps are few for Euler a")
    write(page, "a red castle", steps=120)
    expect(advice).to_contain_text("Over 100 steps")
    sampler.select_option("lcm")
    expect(advice).to_contain_text("Steps cannot be over 50 with the sampler LCM")
    write(page, "a red castle", steps=6)
    expect(advice).to_contain_text("Guidance 4 burns colours with LCM")
    generate(page)
    stage(page, "done")


def test_the_plot_shows_the_walk_and_where_a_source_starts(page: Page) -> None:
    unfold(page, "Expert")
    bars = page.locator(".plan rect")
    expect(bars).to_have_count(20)
    write(page, "a red castle", steps=10)
    expect(bars).to_have_count(10)
    page.get_by_label("Noise schedule").select_option("karras")
    expect(page.locator(".plan svg")).to_have_attribute("aria-label", re.compile("Noise before each of 10 steps"))
    tab(page, "Image")
    expect(page.locator(".plan .is-skipped")).to_have_count(4)
    expect(page.locator(".plan-words")).to_contain_text("starts at step 5")
    share = page.locator(".plan-words").inner_text().split("with ")[1]
    # The strength's own plot says the same number.
    expect(page.locator(".for-img2img .schedule-share")).to_have_text(f"starts with {share}")


@pytest.fixture(params=[(1440, "dark"), (1440, "light"), (390, "dark"), (390, "light")], ids=lambda one: f"{one[0]}-{one[1]}")
def seen(request: pytest.FixtureRequest, browser: Browser, studio: Studio) -> Iterator[tuple[Page, str]]:
    width, theme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900 if width > 390 else 844}, has_touch=width == 390)
    context.add_init_script(f"localStorage.setItem('easel_theme', '{theme}')")
    page = context.new_page()
    page.set_default_timeout(30_000)
    open_studio(page, studio)
    yield page, f"{width}-{theme}"
    context.close()


def test_how_it_looks(seen: tuple[Page, str]) -> None:
    page, name = seen
    is_phone = name.startswith("390")
    keep = lambda what: page.screenshot(path=SHOTS / f"words-{what}-{name}.png")  # noqa: E731
    prompt(page).fill("steampunk zeppelin over (victorian london")
    expect(under(page, "new")).to_be_visible()
    prompt(page).scroll_into_view_if_needed()
    keep("new")
    prompt(page).fill("a red castle")
    open_styles(page, "paint")
    expect(page.locator("#styles-prompt .styles-shown ins").first).to_be_visible()
    page.locator("#styles-prompt").scroll_into_view_if_needed()
    keep("styles")
    if is_phone:
        small = page.evaluate("""() => [...document.querySelectorAll('.words button, .styles button, .styles-option, .styles input')].filter((one) => one.offsetParent)
          .map((one) => [one.textContent.trim(), one.getBoundingClientRect().height]).filter(([, height]) => height < 44)""")
        assert not small, small
    page.locator("#styles-prompt").get_by_role("button", name="Apply").click()
    expect(page.locator(".words-undo").first).to_be_visible()
    page.wait_for_timeout(300)
    keep("applied")
    prompt(page).press("End")
    page.keyboard.type(" __")
    expect(offers(page).first).to_be_visible()
    keep("offers")
    if is_phone:
        offers(page).first.tap()
        expect(prompt(page)).to_have_value(re.compile(r"__\w+__$"))
    unfold(page, "Expert")
    page.get_by_label("Sampler").select_option("ddim")
    write(page, "a red castle", steps=8)
    expect(page.get_by_label("About these steps")).not_to_be_empty()
    page.locator("#plan-plot").scroll_into_view_if_needed()
    keep("sampling")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
