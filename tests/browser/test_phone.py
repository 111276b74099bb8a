"""On a phone: what a thumb meets, and what it finds in sight."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SHOTS, open_studio
from tests.browser.hands import generate, stage, write
from tests.studio import Studio, wait_for

pytestmark = pytest.mark.browser

_FOLDS = ("What you do not want", "LoRA styles", "Guidance style", "More at once", "Expert")
_TOP_OF_STAGE = "document.querySelector('#stage-column').getBoundingClientRect().top"


@pytest.fixture(params=["dark", "light"])
def phone(browser: Browser, studio: Studio, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    context.add_init_script(f"localStorage.setItem('easel_theme', '{request.param}')")
    page = context.new_page()
    open_studio(page, studio)
    yield page
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{request.node.name}.png", full_page=True)
    context.close()


def test_folds_and_counts_are_as_large_as_a_thumb(phone: Page) -> None:
    boxes = {name: phone.get_by_role("button", name=name).bounding_box() for name in _FOLDS}
    assert all(box is not None and box["height"] >= 44 for box in boxes.values()), boxes
    # The edge of a row reacts too, not its words alone; the rows stand no further apart than they are high.
    tops = [box["y"] for name, box in boxes.items() if box is not None and name != _FOLDS[0]]
    assert all(below - above <= 46 for above, below in pairwise(tops)), tops
    expert = phone.get_by_role("button", name="Expert")
    expert.scroll_into_view_if_needed()
    expert.click(position={"x": 100, "y": 42})
    expect(phone.locator("#ctl-seed")).to_be_visible()
    counts = phone.locator("#ctl-count label").evaluate_all("all => all.map((one) => one.getBoundingClientRect().width)")
    assert len(counts) == 5
    assert min(counts) >= 40, counts


def test_generate_goes_up_to_the_stage_and_stays_where_the_stage_is_in_sight(phone: Page) -> None:
    write(phone, "a red car in the desert at sunset", steps=2)
    phone.evaluate("scrollTo(0, 0)")
    generate(phone)
    stage(phone, "done")
    assert phone.evaluate("scrollY") == 0
    phone.evaluate("scrollTo(0, 20)")
    generate(phone)
    expect(phone.locator(".stage")).to_have_attribute("aria-busy", "true")
    stage(phone, "done")
    # Near enough: nothing moves.
    assert phone.evaluate("scrollY") == 20
    phone.get_by_role("button", name="Expert").scroll_into_view_if_needed()
    assert phone.evaluate(_TOP_OF_STAGE) < 0
    generate(phone)
    wait_for(lambda: 0 <= phone.evaluate(_TOP_OF_STAGE) < 422, 20, "the stage to come into sight")
    stage(phone, "done")
