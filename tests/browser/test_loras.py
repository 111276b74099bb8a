"""The LoRA rack: on, muted, weighed, reused, and one that cannot be used says why."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect
from safetensors.torch import save

from tests.browser.conftest import SHOTS
from tests.browser.hands import generate, refused, shown_picture, stage, unfold, write
from tests.studio import Studio

pytestmark = pytest.mark.browser


def open_rack(page: Page) -> None:
    unfold(page, "LoRA styles")
    expect(page.locator('.rack-card[data-name="neon"]')).to_be_visible()


def draw(page: Page, studio: Studio, count: int) -> np.ndarray:
    generate(page)
    expect(page.locator(".strip-list li")).to_have_count(count, timeout=60_000)
    stage(page, "done")
    return np.asarray(shown_picture(page, studio), int)


def test_a_card_is_used_muted_and_used_again(page: Page, studio: Studio) -> None:
    write(page, "a red castle on green hills by day", steps=10)
    unfold(page, "Expert")
    page.get_by_label("Seed", exact=True).fill("4")
    page.get_by_label("Keep this seed").check()
    plain = draw(page, studio, 1)
    open_rack(page)
    card = page.locator('.rack-card[data-name="neon"]')
    box = card.get_by_role("checkbox")
    box.check()
    expect(card.get_by_role("slider")).to_have_value("1")
    expect(card.get_by_role("slider")).to_have_attribute("max", "2")
    styled = draw(page, studio, 2)
    page.screenshot(path=SHOTS / "lora-1440.png")
    assert np.abs(styled - plain).mean() > 10
    box.uncheck()
    # Muted, not forgotten: the weight stays on the card, the picture is the plain one to the bit.
    expect(card.get_by_role("slider")).to_be_visible()
    assert (draw(page, studio, 3) == plain).all()
    box.check()
    assert (draw(page, studio, 4) == styled).all()
    page.reload()
    page.locator('.stage[data-loaded="yes"]').wait_for()
    open_rack(page)
    expect(card.get_by_role("checkbox")).to_be_checked()


def test_a_trigger_goes_into_the_prompt_and_settings_come_back(page: Page, studio: Studio) -> None:
    write(page, "a blue ship at sea", steps=4)
    open_rack(page)
    card = page.locator('.rack-card[data-name="neon"]')
    card.get_by_role("checkbox").check()
    card.get_by_role("button", name="+ neon lights").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a blue ship at sea, neon lights")
    draw(page, studio, 1)
    card.get_by_role("checkbox").uncheck()
    page.locator(".stage-actions").get_by_text("Reuse settings").click()
    expect(card.get_by_role("checkbox")).to_be_checked()


def test_one_that_does_not_fit_says_why(page: Page, studio: Studio) -> None:
    folder = studio.data / "loras"
    folder.mkdir(exist_ok=True)
    (folder / "broken.safetensors").write_bytes(b"no weights at all")
    page.reload()
    page.locator('.stage[data-loaded="yes"]').wait_for()
    open_rack(page)
    card = page.locator('.rack-card[data-name="broken"]')
    expect(card).to_contain_text("Cannot be used: its file is damaged")
    expect(card.get_by_role("checkbox")).to_be_disabled()
    write(page, "a castle <lora:broken:1>", steps=2)
    generate(page)
    refused(page, "The LoRA broken cannot be used")
    (folder / "broken.safetensors").unlink()


def test_a_file_is_brought_into_the_rack_or_refused_in_a_sentence(page: Page, studio: Studio) -> None:
    write(page, "a red castle", steps=2)
    open_rack(page)
    page.locator('.rack-card[data-name="neon"]').get_by_role("checkbox").check()
    expect(page.locator('.rack-card[data-name="neon"] img')).to_have_js_property("naturalWidth", 128)
    tensors = {"unet.a.attn2.to_k.lora_A.weight": torch.ones(2, 256), "unet.a.attn2.to_k.lora_B.weight": torch.ones(8, 2)}
    bring = page.get_by_label("LoRA file")
    bring.set_input_files({"name": "my mood.safetensors", "mimeType": "", "buffer": save(tensors, {"trigger": "my mood, soft haze"})})
    expect(page.locator(".rack-said")).to_have_text("my-mood is in the rack.")
    card = page.locator('.rack-card[data-name="my-mood"]')
    expect(card).to_contain_text("for the starter · licence not stated")
    # No picture beside it: a swatch of its own.
    expect(card.locator("svg.rack-picture path")).to_have_count(4)
    # The others keep what they were set to.
    expect(page.locator('.rack-card[data-name="neon"]').get_by_role("checkbox")).to_be_checked()
    card.get_by_role("button", name="+ soft haze").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a red castle, soft haze")
    bring.set_input_files({"name": "my mood.safetensors", "mimeType": "", "buffer": save(tensors)})
    expect(page.locator(".rack-said")).to_contain_text("There is a LoRA named my-mood here already.")
    bring.set_input_files({"name": "x.safetensors", "mimeType": "", "buffer": b"pickle"})
    expect(page.locator(".rack-said")).to_contain_text("The file of x is damaged")
    (studio.data / "loras" / "my-mood.safetensors").unlink()


def test_a_chosen_card_looks_chosen_in_the_light_theme(page: Page) -> None:
    page.evaluate("localStorage.setItem('easel_theme', 'light')")
    page.reload()
    page.locator('.stage[data-loaded="yes"]').wait_for()
    open_rack(page)
    box = page.locator('.rack-card[data-name="neon"]').get_by_role("checkbox")
    ground = "(box) => getComputedStyle(box).backgroundColor"
    before = box.evaluate(ground)
    box.check()
    assert box.evaluate(ground) != before
    assert box.evaluate(ground) == "rgb(180, 82, 12)"


def test_two_styles_at_full_weight_are_warned_of_and_made_lighter_in_one_click(page: Page) -> None:
    open_rack(page)
    much = page.locator(".rack-much")
    for name in ("ink", "starter-fewsteps"):
        page.locator(f'.rack-card[data-name="{name}"]').get_by_role("checkbox").check()
    # Few steps are no style, and stand behind them.
    expect(much).to_be_hidden()
    expect(page.locator(".rack-card").last).to_have_attribute("data-name", "starter-fewsteps")
    page.locator('.rack-card[data-name="neon"]').get_by_role("checkbox").check()
    expect(much).to_contain_text("2 styles at these weights drown each other and the words.")
    much.get_by_role("button", name="Use 0.60 each").click()
    expect(much).to_be_hidden()
    for name, weight in (("ink", "0.60"), ("neon", "0.60"), ("starter-fewsteps", "1.00")):
        expect(page.locator(f'.rack-card[data-name="{name}"] .rack-row > output')).to_have_text(weight)
