"""Models from the hub in the browser: looked at, downloaded with a bar that is true, followed after a reload, cancelled, gone on with after a restart, drawn with."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from engine.library.offers import read_offers
from tests.browser.conftest import SHOTS, open_studio
from tests.browser.hands import generate, stage, tab, write
from tests.conftest import STARTER
from tests.hub import COMMIT, TinyHub, files_of
from tests.studio import Studio, wait_for

pytestmark = pytest.mark.browser
SLOW = 2_500_000
LAST = "unet/diffusion_pytorch_model-00003-of-00003.safetensors"


@pytest.fixture(scope="module")
def hub() -> Iterator[TinyHub]:
    files = files_of(STARTER)
    with TinyHub({f"ada/{name}": files for name in ("first", "second", "third")} | {"Lykon/dreamshaper-8": files}, {"license": "apache-2.0"}) as tiny:
        yield tiny


@pytest.fixture(scope="module")
def own(hub: TinyHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio on a machine that says it has a graphics card of 8 GB, beside a hub of the tests' own."""
    tools = tmp_path_factory.mktemp("tools")
    card = tools / "nvidia-smi"
    card.write_text("#!/bin/sh\necho 'Test card, 8192'\n")
    card.chmod(card.stat().st_mode | stat.S_IXUSR)
    before = dict(os.environ)
    os.environ |= {"HF_ENDPOINT": hub.endpoint, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    os.environ.pop("HF_HUB_OFFLINE", None)
    try:
        with Studio(tmp_path_factory.mktemp("downloads")) as running:
            running.wait_ready()
            yield running
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def models(context: BrowserContext, own: Studio, hub: TinyHub) -> Iterator[Page]:
    page = context.new_page()
    open_studio(page, own)
    tab(page, "Models")
    expect(page.locator('.model[data-name="starter"]')).to_be_visible()
    yield page
    hub.bytes_per_s, hub.broken, hub.commit = None, {}, COMMIT


def row(page: Page, name: str) -> Locator:
    return page.locator(f'.model[data-name="{name}"]')


def coming(page: Page, name: str) -> Locator:
    return page.locator(f'.model[data-coming="{name}"]')


def look_up(page: Page, name: str) -> Locator:
    page.get_by_label("Model on the hub").fill(name)
    page.get_by_role("button", name="Look up").click()
    return page.locator(".models-looked .model-look")


def share(page: Page, name: str) -> float:
    return float(coming(page, name).locator("progress").first.evaluate("one => one.value"))


def until(page: Page, name: str, least: float) -> None:
    page.wait_for_function(
        "([name, least]) => document.querySelector(`[data-coming='${name}'] progress`)?.value > least", arg=[name, least], timeout=60_000
    )


def begin(page: Page, name: str) -> None:
    look_up(page, f"ada/{name}").get_by_role("button", name="Download 3").click()
    expect(coming(page, name)).to_be_visible()


def shots(page: Page, name: str) -> None:
    """Both themes at both widths."""
    for theme in ("dark", "light"):
        page.evaluate("theme => document.body.classList.toggle('dark', theme === 'dark')", theme)
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900 if width == 1440 else 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.evaluate(
                "Promise.allSettled(document.getAnimations().filter((one) => one.effect.getTiming().iterations !== Infinity).map((one) => one.finished))"
            )
            page.screenshot(path=SHOTS / f"{name}-{width}-{theme}.png")
    page.set_viewport_size({"width": 1440, "height": 900})


def test_a_graphics_card_has_a_suggestion_and_nothing_comes_without_a_click(models: Page, hub: TinyHub, own: Studio) -> None:
    suggestion = models.locator(".models-suggest")
    expect(suggestion).to_contain_text("Suggested for this machine: SDXL 1.0")
    expect(suggestion).to_contain_text("SDXL · 13.9 GB · CreativeML Open RAIL++-M")
    expect(suggestion).to_contain_text("Memory: 7.7 of 8 GB")
    suggestion.get_by_role("button", name="Download: SDXL 1.0").click()
    expect(suggestion.locator(".models-look-said")).to_contain_text("There is no stabilityai/stable-diffusion-xl-base-1.0 on the hub")
    shots(models, "models-suggestion")
    # Said once on the empty stage too, and one click away from there.
    tab(models, "Text")
    hint = models.locator(".stage-suggest")
    expect(hint).to_contain_text("SDXL 1.0, 13.9 GB, CreativeML Open RAIL++-M")
    shots(models, "stage-suggestion")
    hint.get_by_role("button").click()
    expect(suggestion).to_be_visible()
    assert hub.ranges() == []
    assert not (own.data / "models").exists()


def test_an_offer_is_looked_at_before_it_is_downloaded(models: Page, hub: TinyHub, own: Studio) -> None:
    offer = next(one for one in read_offers() if one.hub == "Lykon/dreamshaper-8")
    assert offer.revision
    hub.commit = offer.revision
    item = models.locator(f'.model[data-offer="{offer.name}"]')
    item.get_by_role("button", name="Download: DreamShaper 8").click()
    look = item.locator(".model-look")
    expect(look).to_contain_text(f"Stable Diffusion 1 · 37 MB in 18 files · licence: apache-2.0 · commit {offer.revision[:12]}")
    expect(look).to_contain_text("Memory: 0.2 of 8 GB")
    expect(look).to_contain_text("free.")
    expect(look.get_by_role("button", name="Download 37 MB")).to_be_focused()
    look.get_by_role("button", name="Not now").click()
    expect(item.locator(".model-look")).to_have_count(0)
    expect(item.get_by_role("button", name="Download: DreamShaper 8")).to_be_focused()
    assert not (own.data / "models").exists()


def test_a_model_is_downloaded_followed_over_a_reload_and_drawn_with(models: Page, hub: TinyHub, own: Studio) -> None:
    look = look_up(models, "https://huggingface.co/ada/first")
    expect(look).to_contain_text(f"37 MB in 18 files · licence: apache-2.0 · commit {COMMIT[:12]}")
    look.scroll_into_view_if_needed()
    shots(models, "models-look")
    hub.bytes_per_s = SLOW
    look.get_by_role("button", name="Download 37 MB").click()
    item = coming(models, "first")
    expect(models.locator(".models-said")).to_contain_text("first is on its way. You can go on drawing.")
    expect(item).to_contain_text(f"from ada/first @ {COMMIT[:12]}")
    expect(models.locator(".models-suggest")).to_be_hidden()
    until(models, "first", 5)
    expect(item.locator(".models-whole")).to_contain_text("of 37.")
    expect(item.locator(".models-whole")).to_contain_text("MB/s · ")
    expect(item.locator(".models-whole")).to_contain_text("s left")
    expect(item.locator(".models-file")).to_contain_text(".safetensors · ")
    assert 1 < share(models, "first") < 100
    item.scroll_into_view_if_needed()
    shots(models, "models-download")
    # Half of it is no model: not in the list, not for the API.
    expect(row(models, "first")).to_have_count(0)
    before = share(models, "first")
    models.reload()
    models.locator('.stage[data-loaded="yes"]').wait_for()
    tab(models, "Models")
    until(models, "first", before)
    hub.bytes_per_s = None
    expect(row(models, "first")).to_be_visible(timeout=60_000)
    expect(models.locator(".models-said")).to_contain_text("first is here: draw with it.")
    expect(coming(models, "first")).to_have_count(0)
    expect(models.locator(".models-on-their-way")).to_be_hidden()
    expect(row(models, "first")).to_contain_text(f"Stable Diffusion 1 · 37 MB · apache-2.0 · from ada/first @ {COMMIT[:12]}")
    expect(models.locator(".models-suggest")).to_be_hidden()
    row(models, "first").get_by_role("button", name="Use this model").click()
    expect(models.locator(".top-model")).to_have_text("first")
    tab(models, "Text")
    write(models, "a red castle", steps=3)
    generate(models)
    stage(models, "done")
    assert [model for (model,) in own.rows("select json_extract(recipe, '$.model') from jobs")] == ["first"]


def test_what_is_cancelled_stays_until_it_is_removed(models: Page, hub: TinyHub, own: Studio) -> None:
    hub.bytes_per_s = SLOW
    begin(models, "second")
    until(models, "second", 3)
    item = coming(models, "second")
    item.get_by_role("button", name="Cancel").click()
    expect(item).to_contain_text("stopped")
    kept = share(models, "second")
    assert kept > 3
    item.get_by_role("button", name="Remove").click()
    expect(item).to_contain_text("Throw away what has come?")
    item.get_by_role("button", name="Keep").click()
    item.get_by_role("button", name="Resume").click()
    until(models, "second", kept)
    item.get_by_role("button", name="Cancel").click()
    item.get_by_role("button", name="Remove").click()
    item.get_by_role("button", name="Throw away").click()
    expect(coming(models, "second")).to_have_count(0)
    wait_for(lambda: not list((own.data / "models" / ".downloads").iterdir()), 10, "what came to be gone")


def test_a_download_that_fails_says_why_and_the_studio_draws_on(models: Page, hub: TinyHub, own: Studio) -> None:
    hub.broken = {LAST: 403}
    begin(models, "second")
    item = coming(models, "second")
    expect(item).to_contain_text("The hub does not let this machine read ada/second (403). Its owner has to let you in", timeout=60_000)
    expect(item).to_contain_text("failed")
    expect(models.locator(".models-said")).to_contain_text("second could not be brought here.")
    item.scroll_into_view_if_needed()
    shots(models, "models-failed")
    assert own.health()["ready"]
    hub.broken = {}
    item.get_by_role("button", name="Try again").click()
    expect(row(models, "second")).to_be_visible(timeout=60_000)


def test_half_a_download_is_gone_on_with_after_the_studio_was_started_again(models: Page, hub: TinyHub, own: Studio, context: BrowserContext) -> None:
    hub.bytes_per_s = SLOW
    begin(models, "third")
    until(models, "third", 10)
    own.stop()
    hub.bytes_per_s = None
    own.start()
    page = context.new_page()
    open_studio(page, own)
    tab(page, "Models")
    item = coming(page, "third")
    expect(item).to_contain_text("stopped")
    assert share(page, "third") > 5
    expect(row(page, "third")).to_have_count(0)
    hub.asked.clear()
    item.get_by_role("button", name="Resume").click()
    expect(row(page, "third")).to_be_visible(timeout=60_000)
    assert len(hub.ranges()) < 18
    assert any(wanted.startswith("bytes=") for wanted in hub.ranges())
    assert Path(own.data / "models" / "third" / "model_index.json").is_file()
