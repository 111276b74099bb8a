"""Grids, datasets, comparing, textures, undo of the form, and an enlargement that goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import SHOTS, open_studio
from tests.browser.hands import bring, canvas, chip, generate, picture_of, refused, stage, stroke, tab, unfold, write
from tests.studio import Studio

pytestmark = pytest.mark.browser


def worker_of(studio: Studio) -> int:
    """The process that draws: the youngest child of the studio that is Python. No map may have been made before."""
    children = subprocess.run(["pgrep", "-P", str(studio.process.pid)], capture_output=True, text=True, check=True).stdout.split()
    return max(int(one) for one in children if b"resource_tracker" not in Path(f"/proc/{one}/cmdline").read_bytes())


def kill_drawing_worker(studio: Studio, after: int = 0) -> int:
    """Kill the worker while it draws, one that came later than `after`; returns its id."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with urllib.request.urlopen(f"{studio.url}/healthz", timeout=10) as answer:
            is_drawing = json.load(answer)["worker"] == "drawing"
        if is_drawing and (worker := worker_of(studio)) != after:
            os.kill(worker, signal.SIGKILL)
            return worker
        time.sleep(0.2)
    raise AssertionError("no worker drew within a minute")


def vary(page: Page, kind: str) -> None:
    unfold(page, "More at once")
    chip(page, "sheet", kind)


@pytest.fixture
def own_studio(tmp_path: Path) -> Iterator[Studio]:
    """A studio whose only child draws: what makes maps is a process too, and the wrong one to kill."""
    with Studio(tmp_path) as running:
        running.wait_ready()
        yield running


def test_a_grid_goes_on_past_a_failing_cell_and_the_cell_alone_again(context: BrowserContext, own_studio: Studio) -> None:
    studio, page = own_studio, context.new_page()
    open_studio(page, studio)
    vary(page, "Grid")
    page.locator("#ctl-vary_x_values textarea, #ctl-vary_x_values input").fill("2, 5, 8")
    write(page, "a red castle at sunset", steps=80)
    generate(page)
    expect(page.locator('.cell[data-state="running"]')).to_have_count(1, timeout=60_000)
    # One death is forgiven and tried again; after the second the job is set aside.
    first = kill_drawing_worker(studio)
    kill_drawing_worker(studio, after=first)
    expect(page.locator('.cell[data-state="failed"]')).to_have_count(1, timeout=60_000)
    expect(page.locator('.cell[data-state="done"]')).to_have_count(2, timeout=120_000)
    expect(page.locator(".cell-said").first).to_contain_text("set aside")
    page.screenshot(path=SHOTS / "grid-failed-1440.png")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator('.cell[data-state="done"]')).to_have_count(3, timeout=60_000)
    expect(page.locator(".strip-list li")).to_have_count(3)
    page.reload()
    expect(page.locator('.cell[data-state="done"]')).to_have_count(3, timeout=30_000)
    page.locator(".cell button").nth(1).click()
    expect(page.locator(".stage-facts")).to_contain_text("80 steps")
    page.get_by_role("button", name="Sheet", exact=True).click()
    expect(page.locator(".cell")).to_have_count(3)


def test_stop_ends_a_whole_grid(page: Page) -> None:
    vary(page, "Grid")
    page.locator("#ctl-vary_x_values textarea, #ctl-vary_x_values input").fill("2, 5, 8, 11")
    write(page, "a red castle at sunset", steps=200)
    generate(page)
    expect(page.locator('.cell[data-state="running"]')).to_have_count(1, timeout=60_000)
    page.get_by_role("button", name="Stop").click()
    # Within a step, which on a machine full of other work may be a long one.
    expect(page.locator('.cell[data-state="cancelled"]')).to_have_count(4, timeout=60_000)
    expect(page.get_by_role("button", name="Generate")).to_be_visible()


def test_a_grid_that_cannot_be_is_refused(page: Page) -> None:
    vary(page, "Grid")
    write(page, "a castle", steps=2)
    generate(page)
    refused(page, "Across: There are no values for Guidance")
    expect(page.locator("#ctl-vary_x_values.at-fault")).to_be_visible()
    expect(page.locator(".at-fault")).to_have_count(1)
    page.locator("#ctl-vary_x_values :is(textarea, input)").fill("2, 5")
    expect(page.locator(".at-fault")).to_have_count(0)
    page.locator("#ctl-vary_y_values :is(textarea, input)").fill("10, 20")
    generate(page)
    refused(page, "Down has values and no control.")
    expect(page.locator("#ctl-vary_y.at-fault")).to_be_visible()
    expect(page.locator(".at-fault")).to_have_count(1)
    expect(page.locator(".strip-list li")).to_have_count(0)


def test_a_dataset_of_two_classes(page: Page) -> None:
    vary(page, "Dataset")
    write(page, "a {red castle|blue ship} at sunset", steps=3)
    chip(page, "count", "2")
    generate(page)
    expect(page.locator(".stage-status")).to_have_text("2 of 2 drawn", timeout=60_000)
    with page.expect_download() as download:
        page.get_by_text("Download dataset").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
        assert sum(name.startswith("train/red-castle/") for name in names) == sum(name.startswith("train/blue-ship/") for name in names) == 2
        assert b"a red castle at sunset" in archive.read("train/metadata.jsonl")
        assert b"license: apache-2.0" in archive.read("README.md")


def test_two_results_under_a_wipe(page: Page) -> None:
    for words in ("a red castle", "a blue ship"):
        write(page, words, steps=3)
        generate(page)
        stage(page, "done")
        expect(page.locator(".stage-picture")).to_have_attribute("alt", words)
    page.locator(".stage-actions").get_by_text("Compare").click()
    expect(page.locator(".stage-status")).to_contain_text("choose the other picture")
    page.locator(".strip-open").nth(1).click()
    expect(page.locator("#wipe img")).to_have_count(2)
    page.wait_for_timeout(500)
    page.screenshot(path=SHOTS / "compare-1440.png")
    assert all(page.evaluate("[...document.querySelectorAll('#wipe img')].map((one) => one.naturalWidth > 0)"))
    page.keyboard.press("Escape")
    stage(page, "done")


def test_a_seamless_texture_is_shown_three_by_three(page: Page) -> None:
    unfold(page, "Expert")
    chip(page, "seamless", "Both")
    write(page, "hills by day", steps=4)
    generate(page)
    stage(page, "done")
    page.get_by_role("button", name="3 × 3").click()
    tiled = page.locator(".stage-tiled")
    expect(tiled).to_be_visible()
    expect(tiled).to_have_css("background-size", re.compile(r"33\.33\d*% 33\.33\d*%"))
    page.screenshot(path=SHOTS / "seamless-1440.png")
    page.get_by_role("button", name="3 × 3").click()
    expect(tiled).to_be_hidden()


def test_one_undo_over_the_whole_form(page: Page) -> None:
    prompt = page.get_by_label("Prompt", exact=True)
    write(page, "a red castle", steps=20)
    page.wait_for_timeout(900)
    tab(page, "Image")
    page.wait_for_timeout(900)
    chip(page, "fit", "Pad")
    page.wait_for_timeout(900)
    prompt.fill("something else")
    page.wait_for_timeout(900)
    undo = page.locator("#undo")
    undo.click()
    expect(prompt).to_have_value("a red castle")
    page.wait_for_timeout(900)
    undo.click()
    expect(page.get_by_label("Crop", exact=True)).to_be_checked()
    page.wait_for_timeout(900)
    undo.click()
    expect(page.get_by_role("tab", name="Text", exact=True)).to_have_attribute("aria-selected", "true")
    page.wait_for_timeout(900)
    for _ in range(3):
        page.locator("#redo").click()
        page.wait_for_timeout(900)
    expect(prompt).to_have_value("something else")
    expect(page.get_by_role("tab", name="Image", exact=True)).to_have_attribute("aria-selected", "true")


def test_a_stopped_enlargement_goes_on(page: Page) -> None:
    tab(page, "Upscale")
    bring(page, picture_of(384, 384), "384 × 384")
    write(page, "a red tower", steps=60)
    strength = page.locator("#ctl-strength-upscale input[type=number]")
    strength.fill("0.5")
    strength.press("Tab")
    generate(page)
    expect(page.locator(".stage-status")).to_have_text(re.compile(r"Tile [3-9] of 16.*"), timeout=90_000)
    page.get_by_role("button", name="Stop").click()
    stage(page, "stopped")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".stage-status")).to_have_text(re.compile(r"Tile (?!1 |2 )\d+ of 16.*"), timeout=60_000)
    page.get_by_role("button", name="Stop").click()
    stage(page, "stopped")


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("name", ["Text", "Image", "Inpaint", "Upscale"])
def test_each_tab_is_whole_at_each_width(browser: Browser, studio: Studio, name: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844 if width == 390 else 900})
    page = context.new_page()
    open_studio(page, studio)
    tab(page, name)
    if name != "Text":
        bring(page, picture_of(), "256 × 256")
    if name == "Inpaint":
        page.locator(".editor-board").scroll_into_view_if_needed()
        _, x, y = canvas(page)
        stroke(page, x - 40, y)
        page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=SHOTS / f"{name.lower()}-{width}.png")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    box = page.get_by_role("button", name="Generate").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= (844 if width == 390 else 900)
    small = page.evaluate("""() => [...document.querySelectorAll('#stage-column button, .source button, .tabs button')].filter((one) => one.offsetParent)
      .map((one) => [one.getAttribute('aria-label') || one.textContent.trim(), one.getBoundingClientRect().height]).filter(([, height]) => height < 44)""")
    assert width > 390 or not small, small
    context.close()


def test_noise_schedules_follow_the_sampler_and_come_back(page: Page) -> None:
    unfold(page, "Expert")
    sampler, schedule = page.get_by_label("Sampler"), page.get_by_label("Noise schedule")
    schedule.select_option("karras")
    write(page, "a red castle", steps=6)
    generate(page)
    stage(page, "done")
    sampler.select_option("ddim")
    # DDIM has no such schedule: the choice falls back and says so, rather than failing later.
    expect(schedule).to_have_value("")
    expect(page.locator("#about-schedule")).to_contain_text("Karras does not exist for DDIM")
    expect(schedule.locator("option[value=karras]")).to_be_disabled()
    expect(schedule.locator("option[value=karras]")).to_have_text("Karras (not with DDIM)")
    page.locator(".stage-actions").get_by_text("Reuse settings").click()
    expect(sampler).to_have_value("dpmpp_2m")
    expect(schedule).to_have_value("karras")
    page.reload()
    page.locator('.stage[data-loaded="yes"]').wait_for()
    unfold(page, "Expert")
    expect(sampler).to_have_value("dpmpp_2m")
    expect(schedule).to_have_value("karras")
