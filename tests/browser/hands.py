"""What a person does with the page, in words."""

from __future__ import annotations

import io
import json
import re
import urllib.request
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageDraw
from playwright.sync_api import Locator, Page, Route, expect

from tests.studio import Studio, wait_for
from ui.forms import FIELDS


def stage(page: Page, kind: str) -> None:
    expect(page.locator(f'.stage[data-kind="{kind}"]')).to_be_visible(timeout=60_000)


def write(page: Page, prompt: str, *, steps: int = 20) -> None:
    page.locator("#ctl-prompt textarea").fill(prompt)
    number = page.locator("#ctl-steps input[type=number]")
    number.fill(str(steps))
    number.press("Tab")


def generate(page: Page) -> None:
    page.get_by_role("button", name="Generate").click()


def refused(page: Page, words: str) -> None:
    """What was asked for was refused, in words that are in sight beside Generate."""
    said = page.locator(".refusal-said")
    expect(said).to_contain_text(words)
    expect(said).to_be_in_viewport(ratio=0.9)


def unfold(page: Page, name: str) -> None:
    """Open a fold, and wait as long as a hand needs to get there: what is in it takes its first values from the page some frames after it shows."""
    page.get_by_role("button", name=name).click()
    page.evaluate(
        "() => new Promise((done) => { let left = 20; const next = () => (left-- ? requestAnimationFrame(next) : setTimeout(done, 100)); next(); })"
    )


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def chip(page: Page, control: str, label: str) -> None:
    """Choose one of a row of chips."""
    page.locator(f"#ctl-{control} label:has(span:text-is('{label}'))").click()


def choose_file(page: Page, name: str, content: bytes, kind: str = "image/png") -> None:
    page.locator("#source input[type=file]").set_input_files({"name": name, "mimeType": kind, "buffer": content})


def bring(page: Page, content: bytes, size: str) -> None:
    """Choose a source and wait until it is here."""
    choose_file(page, "source.png", content)
    expect(page.locator(".source-name")).to_have_text(size)


def send(page: Page, to: str) -> None:
    """Send the picture on the stage to a tab, and wait until it is there."""
    before = page.locator(".editor").get_attribute("data-source") or "none"
    page.locator('.stage-actions [data-do="send"]').click()
    page.get_by_role("menuitem", name=to, exact=True).click()
    expect(page.locator(".editor")).not_to_have_attribute("data-source", before)
    expect(page.locator(".editor")).not_to_have_attribute("data-source", "")


def canvas(page: Page) -> tuple[Locator, float, float]:
    """The editor's canvas with its picture, and the middle of it on the screen."""
    expect(page.locator(".editor[data-ready]")).to_be_visible()
    page.wait_for_timeout(200)
    found = page.locator(".editor canvas")
    box = found.bounding_box()
    assert box is not None
    return found, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def stroke(page: Page, x: float, y: float, *, by: tuple[float, float] = (80, 0)) -> None:
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by[0] / 2, y + by[1] / 2, steps=4)
    page.mouse.move(x + by[0], y + by[1], steps=4)
    page.mouse.up()


def strokes(page: Page, count: int) -> None:
    expect(page.locator(".editor")).to_have_attribute("data-strokes", str(count))


def picture_of(width: int = 256, height: int = 256) -> bytes:
    """A PNG with something to see in it: a slope of colours, a sun and a tower."""
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    for y in range(height):
        draw.line((0, y, width, y), fill=(40 + 120 * y // height, 70 + 60 * y // height, 150 - 60 * y // height))
    draw.ellipse((width * 0.7, height * 0.1, width * 0.85, height * 0.25), fill=(250, 220, 120))
    draw.rectangle((width * 0.3, height * 0.4, width * 0.45, height * 0.9), fill=(160, 40, 40))
    target = io.BytesIO()
    image.save(target, "PNG")
    return target.getvalue()


def shown_picture(page: Page, studio: Studio) -> Image.Image:
    """The finished picture on the stage, as the server sends it."""
    address = page.locator(".stage-picture").get_attribute("src")
    assert address
    with urllib.request.urlopen(studio.url + address, timeout=10) as answer:
        return Image.open(io.BytesIO(answer.read())).convert("RGB")


def size_shown(page: Page) -> tuple[int, int]:
    found = re.search(r"(\d+) × (\d+)", page.locator(".stage-facts").inner_text())
    assert found
    return int(found[1]), int(found[2])


def asked(page: Page) -> Callable[[str], dict[str, Any]]:
    """Press Generate in a way, without a moment's rest; returns the form and the rack that the server is asked with. Nothing is drawn."""
    forms: list[dict[str, Any]] = []

    def hold(route: Route) -> None:
        call = json.loads(route.request.post_data or "{}")
        if len(call["data"]) != len(FIELDS) + 6:
            return route.continue_()
        forms.append({"rack": call["data"][3], **dict(zip(FIELDS, call["data"][6:], strict=True))})
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
