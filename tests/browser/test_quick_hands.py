"""A quick hand types and clicks at once: what was typed is what is drawn."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import open_studio
from tests.browser.hands import asked, chip, stage, unfold
from tests.studio import Studio, wait_for

pytestmark = pytest.mark.browser

_ASK_AT_ONCE = ("click", "Control+Enter")


def type_into(page: Page, selector: str, text: str) -> None:
    field = page.locator(selector).first
    field.scroll_into_view_if_needed()
    field.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type(text)


@pytest.mark.timed
@pytest.mark.parametrize("width", [1440, 390])
def test_what_was_just_typed_is_drawn(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    ask = asked(page)
    for fold in ("What you do not want", "More at once", "Expert"):
        unfold(page, fold)
    chip(page, "sheet", "Grid")
    numbers = iter(range(21, 99))
    for way in _ASK_AT_ONCE:
        for name in ("prompt", "negative_prompt", "vary_x_values", "vary_y_values", "seed", "width"):
            text = str(next(numbers))
            type_into(page, f"#ctl-{name} :is(textarea, input)", text)
            assert ask(way)[name] == text, (name, way)
        steps = next(numbers)
        type_into(page, "#ctl-steps input[type=number]", str(steps))
        assert ask(way)["steps"] == steps, way
        # A list: its whole name without Enter, a part of its name, and with Enter.
        for text, control in (("Steps", "steps"), ("samp", "scheduler"), ("Seed\n", "seed")):
            type_into(page, "#ctl-vary_y input", text.rstrip())
            if text.endswith("\n"):
                page.keyboard.press("Enter")
            assert ask(way)["vary_y"] == control, (text, way)


def test_a_list_keeps_what_was_typed_when_it_is_left_and_nothing_that_it_does_not_have(page: Page) -> None:
    unfold(page, "More at once")
    chip(page, "sheet", "Grid")
    field = page.locator("#ctl-vary_y input")
    type_into(page, "#ctl-vary_y input", "steps")
    page.locator("#ctl-vary_y_values :is(textarea, input)").click()
    wait_for(lambda: field.input_value() == "Steps", 10, "the choice that was typed")
    type_into(page, "#ctl-vary_y input", "moonlight")
    page.locator("#ctl-vary_y_values :is(textarea, input)").click()
    wait_for(lambda: field.input_value() == "Steps", 10, "the choice that stood there")


@pytest.mark.timed
def test_a_choice_that_the_server_answers_is_waited_for(page: Page) -> None:
    ask = asked(page)
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.emulateNetworkConditions", {"offline": False, "latency": 300, "downloadThroughput": -1, "uploadThroughput": -1})
    page.locator("#ctl-prompt textarea").fill("a red castle")
    chip(page, "quality", "Draft")
    form = ask("click")
    assert (form["steps"], form["guidance_scale"]) == (4, 1)


def test_a_double_click_asks_once(page: Page) -> None:
    asks: list[str] = []
    page.on("request", lambda request: asks.append(request.url) if "queue/join" in request.url else None)
    page.locator("#ctl-prompt textarea").fill("a red castle")
    page.locator("#go").dblclick()
    stage(page, "drawing")
    page.keyboard.press("Escape")
    stage(page, "stopped")
    assert len(asks) == 1, asks


@pytest.mark.parametrize(
    ("fold", "name", "kept"), [("Expert", "seed", "123"), ("Expert", "width", "320"), ("What you do not want", "negative_prompt", "blurry")]
)
def test_what_is_typed_into_a_fold_that_was_just_opened_stands(page: Page, studio: Studio, fold: str, name: str, kept: str) -> None:
    """The values that the browser has kept come into a fold some frames after it shows; on a slow browser a hand is quicker."""
    selector = f"#ctl-{name} :is(textarea, input)"
    unfold(page, fold)
    type_into(page, selector, kept)
    page.keyboard.press("Tab")
    wait_for(lambda: page.evaluate("localStorage.getItem('easel_form')?.length > 0"), 10, "the form to be kept")
    page.wait_for_timeout(500)
    open_studio(page, studio)
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 6})
    page.evaluate(
        """([fold, selector]) => new Promise((done) => {
          [...document.querySelectorAll("#controls .fold > button")].find((one) => one.textContent.includes(fold)).click();
          const look = () => { const field = document.querySelector(selector); if (!field) return requestAnimationFrame(look); field.focus(); done(); };
          look();
        })""",
        [fold, selector],
    )
    page.keyboard.type("64")
    field = page.locator(selector)
    found = field.input_value()
    assert "64" in found
    page.wait_for_timeout(3000)
    assert field.input_value() == found
    assert asked(page)("Control+Enter")[name] == found
