"""The Models tab: what is here, another model that draws, a default, the bin, and what could be here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import SHOTS, open_studio
from tests.browser.hands import generate, stage, tab, unfold
from tests.browser.hands import write as put
from tests.library.key_tables import kohya, unet_layers, write
from tests.library.test_catalogue import second
from tests.studio import Studio

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio of its own: the default and the bin belong to everybody who opens it."""
    data = tmp_path_factory.mktemp("models")
    second(data / "models")
    write(data / "models" / "style.safetensors", kohya(unet_layers(768, start="lora_unet_", glue="_")))
    with Studio(data) as running:
        running.wait_ready()
        yield running


@pytest.fixture
def models(context: BrowserContext, own: Studio) -> Page:
    page = context.new_page()
    open_studio(page, own)
    tab(page, "Models")
    expect(row(page, "second")).to_be_visible()
    return page


def row(page: Page, name: str):
    return page.locator(f'.model[data-name="{name}"]')


def said(page: Page, text: str) -> None:
    expect(page.locator(".models-said")).to_contain_text(text)


def test_each_model_says_what_it_is_and_what_fits(models: Page) -> None:
    starter = row(models, "starter")
    expect(starter).to_contain_text("in use")
    expect(starter).to_contain_text("37 MB · Apache-2.0 · bundled")
    expect(starter).to_contain_text("Memory: 0.2 of ")
    expect(starter.get_by_role("button")).to_have_count(0)
    starter.get_by_text("Model card").click()
    expect(starter.locator(".model-words")).to_contain_text("starter")
    style = row(models, "style.safetensors")
    expect(style).to_contain_text("Cannot be used: It is a LoRA for Stable Diffusion 1, in the kohya layout. Put it into data/loras.")
    expect(style.get_by_role("button", name="Use this model")).to_have_count(0)
    offers = models.locator(".models-offers .model")
    assert offers.count() >= 12
    expect(offers.first).to_contain_text("Memory:")
    offers.first.get_by_text("From a terminal").click()
    expect(offers.first.locator("code")).to_contain_text("python -m engine models download ")
    # What runs stays in sight.
    expect(models.locator(".stage")).to_be_visible()
    models.screenshot(path=SHOTS / "models-1440.png")


def test_the_controls_follow_the_model_and_it_draws(models: Page, own: Studio) -> None:
    row(models, "second").get_by_role("button", name="Use this model").click()
    said(models, "Second draws now.")
    expect(row(models, "second")).to_contain_text("in use")
    expect(models.locator(".top-model")).to_have_text("Second")
    tab(models, "Text")
    expect(models.locator("#models-column")).to_be_hidden()
    expect(models.locator("#ctl-size label")).to_have_text(["128 × 128"])
    expect(models.locator("#ctl-steps input[type=number]")).to_have_value("11")
    expect(models.locator("#ctl-quality")).to_contain_text("Standard: 11 steps")
    models.locator("#ctl-prompt textarea").fill("a red castle")
    generate(models)
    stage(models, "done")
    expect(models.locator(".stage-facts")).to_contain_text("128 × 128")
    # It is remembered, and so is what was set for it.
    models.reload()
    models.locator('.stage[data-loaded="yes"]').wait_for()
    expect(models.locator(".top-model")).to_have_text("Second")
    expect(models.locator("#ctl-size label")).to_have_text(["128 × 128"])
    # Back to the other one, and from there its picture brings its model along.
    models.locator(".top-model").click()
    row(models, "starter").get_by_role("button", name="Use this model").click()
    said(models, "Easel starter draws now.")
    tab(models, "Text")
    expect(models.locator("#ctl-size label").first).to_have_text("256 × 256")
    expect(models.locator("#ctl-steps input[type=number]")).to_have_value("20")
    models.locator(".strip-open").first.click()
    models.locator(".stage-actions").get_by_text("Reuse settings").click()
    expect(models.locator(".top-model")).to_have_text("Second")
    expect(models.locator("#ctl-size label")).to_have_text(["128 × 128"])
    generate(models)
    expect(models.locator(".strip-list li")).to_have_count(2, timeout=60_000)
    unfold(models, "Expert")
    expect(models.get_by_label("Own width")).to_have_value("")


def test_the_default_is_for_whoever_comes_anew(models: Page, context: BrowserContext, own: Studio) -> None:
    row(models, "second").get_by_role("button", name="Make default").click()
    said(models, "Second is the default")
    expect(row(models, "second")).to_contain_text("default")
    # Who has a model already keeps it.
    expect(row(models, "starter")).to_contain_text("in use")
    assert own.health()["model"] == "second"
    assert context.browser is not None
    newcomer = context.browser.new_context()
    page = newcomer.new_page()
    open_studio(page, own)
    expect(page.locator(".top-model")).to_have_text("Second")
    expect(page.locator("#ctl-steps input[type=number]")).to_have_value("11")
    newcomer.close()
    row(models, "starter").get_by_role("button", name="Make default").click()
    said(models, "Easel starter is the default")


def test_deleting_asks_once_and_keeps_it_in_the_bin(models: Page, own: Studio) -> None:
    second(own.data / "models", "third")
    tab(models, "Text")
    tab(models, "Models")
    third = row(models, "third")
    third.get_by_role("button", name="Delete").click()
    expect(third.get_by_role("button", name="Move: Second")).to_be_focused()
    third.get_by_role("button", name="Keep").click()
    expect(third.get_by_role("button", name="Delete")).to_be_focused()
    models.keyboard.press("Enter")
    models.keyboard.press("Enter")
    said(models, "lies in data/bin now")
    expect(third).to_have_count(0)
    assert not (own.data / "models" / "third").exists()
    (kept,) = (own.data / "bin").iterdir()
    assert (kept / "model_index.json").is_file()
    # The next test begins with an empty bin.
    kept.rename(Path(str(own.data)) / "taken-back")


def test_arrows_reach_the_tab_and_numbers_leave_it(models: Page) -> None:
    tab(models, "Upscale")
    models.keyboard.press("ArrowRight")
    expect(models.get_by_role("tab", name="Models")).to_be_focused()
    expect(models.get_by_role("tab", name="Models")).to_have_attribute("aria-selected", "true")
    expect(models.locator("#models-column")).to_be_visible()
    models.keyboard.press("1")
    expect(models.get_by_role("tab", name="Text")).to_have_attribute("aria-selected", "true")
    expect(models.locator("#controls")).to_be_visible()


def test_a_memory_plan_is_chosen_and_the_next_picture_is_drawn_so(models: Page, own: Studio) -> None:
    plan, said_of_it = models.get_by_label("Memory plan"), models.locator(".models-memory-what")
    expect(plan).to_have_value("automatic")
    expect(said_of_it).to_contain_text("The quickest way that fits")
    # What cannot work here cannot be chosen, and the fold says why.
    for title in ("Text encoders on the CPU", "In pieces (group offload)"):
        expect(plan.locator("option", has_text=title)).to_be_disabled()
        expect(plan.locator("option", has_text=title)).to_have_text(f"{title}: not here")
    models.get_by_text("What each plan does").click()
    expect(models.locator(".models-plans li")).to_have_count(8)
    expect(models.locator(".models-plans")).to_contain_text("Not here: this device has no memory of its own")
    expect(plan.locator("option", has_text="Quantised to 4 bits (bitsandbytes)")).to_be_enabled()
    expect(models.locator(".models-plans")).to_contain_text("about a third of their size; pictures change visibly")
    models.screenshot(path=SHOTS / "memory-plans-1440.png")
    models.get_by_text("What each plan does").click()
    plan.select_option("parts")
    said(models, "One part at a time: the next picture is drawn so.")
    expect(said_of_it).to_contain_text("take turns on the device")
    expect(row(models, "starter").locator(".models-fits")).to_contain_text("one part at a time")
    tab(models, "Text")
    drawn = models.locator(".strip-list li").count()
    put(models, "a red castle", steps=2)
    generate(models)
    stage(models, "done")
    # What only moves parts draws the same picture, so nothing is said of it; what makes weights smaller is.
    expect(models.locator(".stage-facts")).to_contain_text("2 steps")
    expect(models.locator(".stage-facts")).not_to_contain_text("weights")
    tab(models, "Models")
    plan.select_option("fp8")
    said(models, "the next picture is drawn so.")
    tab(models, "Text")
    generate(models)
    expect(models.locator(".stage-facts")).to_contain_text("weights in 8 bits", timeout=60_000)
    models.screenshot(path=SHOTS / "weights-said-1440.png")
    tab(models, "Models")
    plan.select_option("parts")
    said(models, "One part at a time: the next picture is drawn so.")
    tab(models, "Text")
    models.locator('.stage-actions [data-do="reuse"]').click()
    expect(models.get_by_text("here they are as they were trained, so small things will differ.")).to_be_visible()
    models.screenshot(path=SHOTS / "weights-otherwise-1440.png")
    # Another visitor finds it, and so does this one after a reload.
    models.reload()
    models.locator('.stage[data-loaded="yes"]').wait_for()
    tab(models, "Models")
    expect(plan).to_have_value("parts")
    plan.select_option("automatic")
    said(models, "Automatic: the next picture is drawn so.")
    tab(models, "Text")
    generate(models)
    expect(models.locator(".strip-list li")).to_have_count(drawn + 3, timeout=60_000)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_phone_shows_it_without_sliding(context: BrowserContext, own: Studio, theme: str) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": 390, "height": 844})
    page.add_init_script(f"localStorage.setItem('easel_theme', '{theme}')")
    open_studio(page, own)
    tab(page, "Models")
    expect(row(page, "second")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.scrollingElement.scrollLeft") == 0
    for button in row(page, "second").get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 44
        assert box["x"] + box["width"] <= 390
    page.screenshot(path=SHOTS / f"models-390-{theme}.png")
