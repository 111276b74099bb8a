"""Draft, standard, fine: one choice sets what belongs together, and the controls say which choice they are."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SHOTS
from tests.browser.hands import asked, chip, generate, stage, unfold, write

pytestmark = pytest.mark.browser


def test_a_draft_sets_steps_guidance_sampler_and_lora_together(page: Page) -> None:
    chip(page, "quality", "Draft")
    steps, guidance = page.locator("#ctl-steps input[type=number]"), page.locator("#ctl-guidance_scale input[type=number]")
    expect(steps).to_have_value("4")
    expect(guidance).to_have_value("1")
    expect(page.locator("#ctl-quality")).to_contain_text("few-step LoRA")
    page.locator("#ctl-prompt textarea").fill("a red castle in the desert by day")
    generate(page)
    stage(page, "done")
    expect(page.locator(".stage-facts")).to_contain_text("4 steps")
    page.screenshot(path=SHOTS / "draft-1440.png")
    unfold(page, "LoRA styles")
    helper = page.locator('.rack-card[data-name="starter-fewsteps"]').get_by_role("checkbox")
    expect(helper).to_be_checked()
    chip(page, "quality", "Standard")
    expect(steps).to_have_value("20")
    expect(helper).not_to_be_checked()


def test_moved_controls_are_no_choice_any_more(page: Page) -> None:
    expect(page.get_by_label("Standard", exact=True)).to_be_checked()
    write(page, "a red castle", steps=27)
    expect(page.get_by_label("Standard", exact=True)).not_to_be_checked()
    write(page, "a red castle", steps=40)
    expect(page.get_by_label("Fine", exact=True)).to_be_checked()


# Answers of the server come late, and not in their order; each later than Generate waits for one.
_SLOW_LINE = """(() => {
  const real = window.fetch, waits = [4500, 3800, 4200, 3600];
  let count = 0;
  window.fetch = async (...asked) => {
    const address = String(asked[0]?.url ?? asked[0]);
    if (/gradio_api\\/(run|call|queue\\/(join|data))/.test(address)) await new Promise((done) => setTimeout(done, waits[count++ % waits.length]));
    return real(...asked);
  };
})()"""


@pytest.mark.parametrize("last", ["Draft", "Standard", "Fine"])
def test_of_quick_choices_the_last_one_counts_over_a_slow_line(page: Page, last: str) -> None:
    """In the chips, in the controls, and in what Generate sends."""
    values = {"Draft": (4, 1, "lcm"), "Standard": (20, 4, "dpmpp_2m"), "Fine": (40, 4, "dpmpp_2m")}
    ask = asked(page)
    page.locator("#ctl-prompt textarea").fill("a red castle")
    page.evaluate(_SLOW_LINE)
    others = [name for name in values if name != last]
    for name in (*others, last, *reversed(others), last):
        chip(page, "quality", name)
    form = ask("click")
    assert (form["steps"], form["guidance_scale"], form["scheduler"]) == values[last]
    assert [one["name"] for one in form["rack"]] == (["starter-fewsteps"] if last == "Draft" else [])
    # Nothing that comes later takes it back.
    page.wait_for_timeout(5000)
    expect(page.get_by_label(last, exact=True)).to_be_checked()
    expect(page.locator("#ctl-quality label.selected")).to_have_count(1)
    expect(page.locator("#ctl-steps input[type=number]")).to_have_value(str(values[last][0]))
    form = ask("click")
    assert (form["steps"], form["guidance_scale"], form["scheduler"]) == values[last]
