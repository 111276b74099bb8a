"""Guidance styles side by side on one seed; samplers, the noise schedules that go with them, and the walk that is drawn of both."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from engine import GUIDANCE_LABELS, SCHEDULE_LABELS, SCHEDULER_FACTS, schedules_of, styles_of
from engine.library.metadata import read_recipe
from engine.library.noise_plan import noise_plan
from tests.browser.conftest import SHOTS
from tests.browser.hands import unfold, write
from tests.conftest import STARTER
from tests.studio import Studio

pytestmark = pytest.mark.browser


def choose_style(page: Page, label: str) -> None:
    field = page.locator("#ctl-guidance_style input")
    field.click()
    page.get_by_role("option", name=label, exact=True).click()
    expect(field).to_have_value(label)


def cells(page: Page, count: int) -> list[str]:
    expect(page.locator('.cell[data-state="done"]')).to_have_count(count, timeout=120_000)
    return page.locator(".cell figcaption span:first-child").all_inner_texts()


def test_two_styles_on_one_seed(page: Page, studio: Studio) -> None:
    write(page, "a red castle on green hills by day", steps=6)
    unfold(page, "Guidance style")
    expect(page.get_by_role("button", name="Draw all styles on one seed")).to_be_visible()
    expect(page.get_by_label("Perturbation").first).to_be_hidden()
    choose_style(page, "PAG")
    # The page asks the server what goes with a style.
    expect(page.get_by_label("Perturbation").first).to_be_visible(timeout=30_000)
    expect(page.locator("#ctl-guidance_style")).to_contain_text("Firmer shapes")
    before = set(studio.data.rglob("images/**/*.png"))
    page.get_by_role("button", name="Draw CFG and PAG on one seed").click()
    assert cells(page, 2) == ["Guidance style CFG", "Guidance style PAG"]
    page.screenshot(path=SHOTS / "guidance-beside-1440.png")
    made = [path for path in studio.data.rglob("images/**/*.png") if path not in before]
    recipes = [read_recipe(path) for path in made]
    assert len({one.seed for one in recipes}) == 1
    assert {one.guidance.style for one in recipes} == {"cfg", "pag"}
    assert len({path.read_bytes() for path in made}) == 2
    # The form is as it was: the next Generate draws one picture.
    unfold(page, "More at once")
    expect(page.get_by_role("radio", name="One job")).to_be_checked()


def test_all_styles_on_one_seed(page: Page) -> None:
    write(page, "a blue ship at sea", steps=2)
    unfold(page, "Guidance style")
    page.get_by_role("button", name="Draw all styles on one seed").click()
    assert cells(page, len(styles_of("sd1"))) == [f"Guidance style {GUIDANCE_LABELS[style]}" for style in styles_of("sd1")]


def test_pairs_that_do_not_exist_are_disabled_and_the_walk_is_drawn(page: Page) -> None:
    unfold(page, "Expert")
    sampler, schedule = page.get_by_label("Sampler"), page.get_by_label("Noise schedule")
    expect(sampler.locator("option").nth(12)).to_be_attached()
    # The flow samplers are for other families than the starter's.
    offered = sampler.locator("option").evaluate_all("all => all.map((one) => one.value)")
    assert {"ddim", "dpmpp_2m", "unipc", "lcm"} <= set(offered) <= set(SCHEDULER_FACTS)
    for name in offered:
        sampler.select_option(name)
        known = schedules_of(name)
        for option in SCHEDULE_LABELS:
            entry = schedule.locator(f'option[value="{option}"]')
            expect(entry).to_be_enabled() if option in known else expect(entry).to_be_disabled()
        if missing := [option for option in SCHEDULE_LABELS if option not in known]:
            expect(schedule.locator(f'option[value="{missing[0]}"]')).to_contain_text("(not with ")
    bars, heights = page.locator("#plan-plot rect"), "all => all.map((one) => Number(one.getAttribute('height')))"
    for name, chosen, steps in (("dpmpp_2m", "karras", 12), ("dpmpp_2m", "", 12), ("euler", "exponential", 7)):
        sampler.select_option(name)
        schedule.select_option(chosen)
        write(page, "a castle", steps=steps)
        wanted = noise_plan(STARTER, name, chosen or None, steps, (256, 256))  # type: ignore[arg-type]
        expect(bars).to_have_count(len(wanted) - 1)
        # Sixty-two units are all noise.
        tall = [f"{max(1, share * 62):.2f}" for share in wanted[:-1]]
        page.wait_for_function(
            "wanted => [...document.querySelectorAll('#plan-plot rect')].map((one) => one.getAttribute('height')).join() === wanted.join()", arg=tall
        )
        assert bars.evaluate_all(heights)[0] > bars.evaluate_all(heights)[-1]
