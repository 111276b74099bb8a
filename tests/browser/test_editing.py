"""Editing by a sentence in the Image tab: greyed with its reason, then an edit with two pictures, reused and read back from its file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from engine.library.noise_plan import noise_plan
from tests.browser.conftest import SHOTS, open_studio
from tests.browser.hands import bring, chip, generate, picture_of, refused, size_shown, stage, tab, unfold, write
from tests.browser.test_sources import give
from tests.diffusion.families import make_family
from tests.studio import Studio, wait_for

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio with tiny models that edit: one looks at four pictures, one at its source only."""
    data: Path = tmp_path_factory.mktemp("editing")
    make_family(data / "models" / "klein", "flux2")
    make_family(data / "models" / "kontext", "flux1", made_for="edit")
    with Studio(data) as running:
        running.wait_ready()
        yield running


@pytest.fixture
def page(context: BrowserContext, own: Studio) -> Page:
    opened = context.new_page()
    open_studio(opened, own)
    return opened


def use(page: Page, model: str) -> None:
    tab(page, "Models")
    page.get_by_role("button", name=f"Use this model: {model}").click()
    expect(page.locator(".models-said")).to_contain_text(f"{model} draws now.")
    tab(page, "Image")


def add_picture(page: Page, content: bytes, count: int) -> None:
    page.locator("#pictures input[type=file]").set_input_files({"name": "more.png", "mimeType": "image/png", "buffer": content})
    expect(page.locator(".picture-card")).to_have_count(count)


def is_edit(page: Page, *, is_chosen: bool) -> None:
    box = page.locator("#ctl-how").get_by_label("Edit", exact=True)
    expect(box).to_be_checked(checked=is_chosen)
    expect(page.locator("#ctl-strength")).to_be_visible(visible=not is_chosen)
    expect(page.locator("#ctl-pictures")).to_be_visible(visible=is_chosen)


def test_a_model_that_repaints_says_what_editing_needs(page: Page) -> None:
    tab(page, "Image")
    expect(page.locator("#ctl-how")).to_contain_text(
        "Easel starter repaints; editing by a sentence needs FLUX.1 Kontext, Qwen-Image-Edit or FLUX.2 klein."
    )
    expect(page.locator("#ctl-how").get_by_label("Edit", exact=True)).to_be_disabled()
    is_edit(page, is_chosen=False)
    expect(page.locator("#ctl-fit")).to_be_visible()
    page.screenshot(path=SHOTS / "edit-refused-1440.png")
    use(page, "klein")
    expect(page.locator("#ctl-how")).not_to_contain_text("repaints")
    expect(page.locator("#ctl-how").get_by_label("Edit", exact=True)).to_be_enabled()


def test_the_switch_answers_the_keyboard_and_changes_what_is_asked_for(page: Page) -> None:
    use(page, "klein")
    prompt = page.locator("#ctl-prompt textarea")
    expect(prompt).to_have_attribute("placeholder", "A red mushroom in a forest by day")
    repaint = page.locator("#ctl-how").get_by_label("Repaint", exact=True)
    expect(repaint).to_be_enabled()
    repaint.focus()
    page.keyboard.press("ArrowRight")
    is_edit(page, is_chosen=True)
    expect(page.locator("#ctl-size")).to_be_hidden()
    expect(prompt).to_have_attribute("placeholder", "Say what to change: make it night")
    tab(page, "Text")
    expect(prompt).to_have_attribute("placeholder", "A red mushroom in a forest by day")
    expect(page.locator("#ctl-size")).to_be_visible()
    expect(page.locator("#ctl-pictures")).to_be_hidden()
    # A model that cannot edit takes the choice back, and says why.
    tab(page, "Image")
    use(page, "Easel starter")
    is_edit(page, is_chosen=False)
    expect(page.locator("#ctl-how")).to_contain_text("Easel starter repaints")


def test_an_edit_is_drawn_reused_and_read_back_from_its_file(page: Page, browser: Browser, own: Studio) -> None:
    use(page, "klein")
    bring(page, picture_of(160, 112), "160 × 112")
    chip(page, "how", "Edit")
    add_picture(page, picture_of(96, 64), 1)
    add_picture(page, picture_of(64, 96), 2)
    expect(page.locator(".picture-card b")).to_have_text(["Picture 2", "Picture 3"])
    write(page, "put the tower of picture 2 beside it", steps=4)
    expect(page.locator("#go")).to_contain_text("Generate")
    generate(page)
    stage(page, "done")
    # In the shape of the source, not of a chip.
    assert size_shown(page) == (160, 112)
    page.screenshot(path=SHOTS / "edit-1440.png")
    with page.expect_download() as download:
        page.locator('.stage-actions [data-do="download"]').click()
    made = download.value.path().read_bytes()
    # After a reload everything is as it was left.
    page.reload()
    page.locator('.stage[data-loaded="yes"]').wait_for()
    is_edit(page, is_chosen=True)
    expect(page.locator(".picture-card")).to_have_count(2)
    expect(page.locator("#ctl-prompt textarea")).to_have_attribute("placeholder", "Say what to change: make it night")
    # Changed, then taken back from the picture's own settings.
    page.get_by_role("button", name="Remove picture 2").click()
    expect(page.locator(".picture-card")).to_have_count(1)
    chip(page, "how", "Repaint")
    write(page, "something else", steps=9)
    page.locator('.stage-actions [data-do="reuse"]').click()
    expect(page.locator("#ctl-prompt textarea")).to_have_value("put the tower of picture 2 beside it")
    is_edit(page, is_chosen=True)
    expect(page.locator(".picture-card")).to_have_count(2)
    # And in the same browser from the file.
    write(page, "something else", steps=9)
    chip(page, "how", "Repaint")
    tab(page, "Text")
    give(page, "drop", made)
    page.locator(".offer").get_by_role("button", name="Use them").click()
    expect(page.get_by_role("tab", name="Image", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#ctl-prompt textarea")).to_have_value("put the tower of picture 2 beside it")
    is_edit(page, is_chosen=True)
    expect(page.locator(".picture-card")).to_have_count(2)
    generate(page)
    # The first picture is still on the stage until the next one is asked for.
    wait_for(lambda: len(own.rows("select recipe from jobs")) == 2, 30, "the second job")
    first, second = (str(row[0]) for row in own.rows("select recipe from jobs"))
    assert first == second
    assert '"mode":"edit"' in first
    assert first.count('"pictures":[') == 1


@pytest.mark.parametrize(
    ("model", "prompt", "source", "more", "control", "words"),
    [
        ("klein", "make it night", False, 0, "source", "There is no source picture."),
        ("klein", "", True, 0, "prompt", "The prompt is empty."),
        ("kontext", "make it night", True, 1, "pictures", "kontext looks at only the source, not at 2 pictures."),
    ],
)
def test_bad_input_is_one_sentence_at_its_control(page: Page, model: str, prompt: str, source: bool, more: int, control: str, words: str) -> None:
    use(page, "klein")
    chip(page, "how", "Edit")
    if source:
        bring(page, picture_of(), "256 × 256")
    for number in range(more):
        add_picture(page, picture_of(96, 64), number + 1)
    if model != "klein":
        use(page, model)
        is_edit(page, is_chosen=True)
        expect(page.locator("#ctl-pictures")).to_contain_text("This model looks only at the source. Remove one.")
        expect(page.locator("#ctl-pictures .source-drop")).to_have_count(0)
    page.locator("#ctl-prompt textarea").fill(prompt)
    generate(page)
    refused(page, words)
    expect(page.locator(f"#ctl-{control}.at-fault")).to_be_visible()


def test_on_a_phone_nothing_hangs_over(browser: Browser, own: Studio) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    open_studio(page, own)
    use(page, "klein")
    bring(page, picture_of(160, 112), "160 × 112")
    chip(page, "how", "Edit")
    add_picture(page, picture_of(96, 64), 1)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for name in ("Edit", "Repaint"):
        box = page.locator(f"#ctl-how label:has(span:text-is('{name}'))").bounding_box()
        assert box is not None
        assert box["height"] >= 44
    page.locator("#pictures").scroll_into_view_if_needed()
    page.screenshot(path=SHOTS / "edit-390.png")
    context.close()


def test_the_walk_of_a_flow_is_drawn_and_follows_the_size(page: Page, own: Studio) -> None:
    use(page, "klein")
    tab(page, "Text")
    unfold(page, "Expert")
    # The menu is that of the model's family.
    sampler = page.get_by_label("Sampler")
    expect(sampler.locator("option")).to_have_text(["Flow Euler", "Flow DPM++ 2M", "Flow UniPC"])
    expect(sampler).to_have_value("flow_euler")
    sampler.select_option("flow_unipc")
    write(page, "a castle", steps=12)

    def is_walk(width: int, height: int) -> None:
        """Sixty-two units are all noise."""
        plan = noise_plan(own.data / "models" / "klein", "flow_unipc", None, 12, (width, height))
        tall = [f"{max(1, share * 62):.2f}" for share in plan[:-1]]
        assert len(tall) == 12
        page.wait_for_function(
            "wanted => [...document.querySelectorAll('#plan-plot rect')].map((one) => one.getAttribute('height')).join() === wanted.join()", arg=tall
        )

    is_walk(1024, 1024)
    chip(page, "size", "1344 × 768")
    is_walk(1344, 768)
    page.locator("#ctl-width input").fill("256")
    is_walk(256, 768)
    page.locator("#plan-plot").scroll_into_view_if_needed()
    page.screenshot(path=SHOTS / "plan-flow-1440.png")
    # An edit is drawn in the shape of its source; a repaint begins at a bar of its own.
    page.locator("#ctl-width input").fill("")
    tab(page, "Image")
    bring(page, picture_of(320, 192), "320 × 192")
    chip(page, "how", "Edit")
    is_walk(320, 192)
    chip(page, "how", "Repaint")
    is_walk(1344, 768)
    expect(page.locator("#plan-plot rect.is-start")).to_have_count(1)
    expect(page.locator("#plan-plot .plan-words")).to_contain_text("% noise")
    use(page, "Easel starter")
    tab(page, "Text")
    expect(sampler).to_have_value("dpmpp_2m")
    assert "flow_euler" not in sampler.locator("option").evaluate_all("all => all.map((one) => one.value)")
    assert sampler.locator("option").count() > 12
