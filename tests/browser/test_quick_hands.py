"""A quick hand types and clicks at once: what was typed is what is drawn."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route

from tests.browser.hands import chip, stage, unfold
from tests.studio import wait_for
from ui.forms import FIELDS

pytestmark = pytest.mark.browser

_ASK_AT_ONCE = ("click", "Control+Enter")


def asked(page: Page) -> Callable[[str], dict[str, Any]]:
    """Press Generate in a way, without a moment's rest; returns the form that the server is asked with. Nothing is drawn."""
    forms: list[dict[str, Any]] = []

    def hold(route: Route) -> None:
        call = json.loads(route.request.post_data or "{}")
        if len(call["data"]) != len(FIELDS) + 6:
            return route.continue_()
        forms.append(dict(zip(FIELDS, call["data"][6:], strict=True)))
        # A grid without values is refused.
        for name, value in (("sheet", "grid"), ("vary_x", "seed"), ("vary_x_values", "")):
            call["data"][6 + FIELDS.index(name)] = value
        return route.continue_(post_data=json.dumps(call))

    page.route("**/queue/join*", hold)

    def ask(way: str) -> dict[str, Any]:
        forms.clear()
        if way == "click":
            # As a finger does it: down and up in one moment, and no check beforehand that the button holds still.
            box = page.locator("#go").bounding_box()
            assert box is not None
            page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        else:
            page.keyboard.press(way)

        def has_come() -> bool:
            page.wait_for_timeout(20)
            return bool(forms)

        wait_for(has_come, 20, "the form to be sent")
        return forms[-1]

    return ask


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
