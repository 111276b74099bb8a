"""Draft, standard, fine: one choice sets what belongs together, and the controls say which choice they are."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SHOTS
from tests.browser.hands import chip, generate, stage, unfold, write

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
