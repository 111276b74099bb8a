"""A checkpoint that was dropped in as one file, another VAE and clip skip, as a person meets them on the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from playwright.sync_api import BrowserContext, Page, expect

from engine.library.metadata import read_recipe
from tests.browser.conftest import SHOTS, open_studio
from tests.browser.hands import generate, stage, tab, unfold
from tests.diffusion.families import make_family
from tests.diffusion.originals import make_pair, make_vae
from tests.studio import Studio

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    data = tmp_path_factory.mktemp("files")
    _, file = make_pair(data / "models", "sd1")
    file.rename(file.with_name("dreamy.safetensors"))
    make_family(data / "models" / "flux1", "flux1")
    torch.manual_seed(3)
    make_vae().eval().save_pretrained(data / "vaes" / "softer")
    with Studio(data) as running:
        running.wait_ready()
        yield running


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.locator("li[role=option]").filter(has_text=option).click()


def use(page: Page, name: str) -> None:
    tab(page, "Models")
    page.locator(f'.model[data-name="{name}"]').get_by_role("button", name="Use this model").click()
    expect(page.locator(".models-said")).to_contain_text("draws now.")


def test_a_file_draws_with_another_vae_and_an_earlier_layer(context: BrowserContext, own: Studio) -> None:
    page = context.new_page()
    open_studio(page, own)
    tab(page, "Models")
    file = page.locator('.model[data-name="dreamy.safetensors"]')
    expect(file).to_contain_text("dreamy")
    expect(file).to_contain_text("Memory:")
    expect(file).not_to_contain_text("Cannot be used")
    page.screenshot(path=SHOTS / "single-file-1440.png")
    use(page, "dreamy.safetensors")
    tab(page, "Text")
    unfold(page, "Expert")
    choose(page, "Clip skip", "2: the last but one")
    choose(page, "VAE", "softer")
    for edge in ("Own width", "Own height"):
        page.get_by_label(edge).fill("64")
    page.locator("#ctl-prompt textarea").fill("a red castle")
    steps = page.locator("#ctl-steps input[type=number]")
    steps.fill("2")
    steps.press("Tab")
    page.get_by_label("VAE", exact=True).scroll_into_view_if_needed()
    page.screenshot(path=SHOTS / "clip-skip-1440.png")
    generate(page)
    stage(page, "done")
    recipe = read_recipe(next((own.data / "images").rglob("*.png")))
    assert (recipe.model, recipe.clip_skip, recipe.vae) == ("dreamy.safetensors", 2, "softer")
    # It is remembered, and a picture brings it back.
    page.reload()
    page.locator('.stage[data-loaded="yes"]').wait_for()
    page.wait_for_function("document.body.dataset.ready === 'yes'")
    unfold(page, "Expert")
    expect(page.get_by_label("Clip skip", exact=True)).to_have_value("2: the last but one")
    choose(page, "VAE", "The model's own")
    page.locator(".strip-open").first.click()
    page.locator(".stage-actions").get_by_text("Reuse settings").click()
    expect(page.get_by_label("VAE", exact=True)).to_have_value("softer")


def test_where_it_does_not_work_the_control_says_why(context: BrowserContext, own: Studio) -> None:
    page = context.new_page()
    open_studio(page, own)
    use(page, "flux1")
    tab(page, "Text")
    page.set_viewport_size({"width": 390, "height": 844})
    unfold(page, "Expert")
    skip = page.locator("#ctl-clip_skip")
    expect(skip.locator("input")).to_be_disabled()
    expect(skip).to_contain_text("flux1 was trained to hear one layer of each encoder: there is nothing to skip.")
    expect(page.locator("#ctl-vae input")).to_be_enabled()
    skip.scroll_into_view_if_needed()
    page.screenshot(path=SHOTS / "clip-skip-390.png")
