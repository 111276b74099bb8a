"""An operator's page on a model that can do less than the starter: adapters from the hub, and what does not fit is grey and says why."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from playwright.sync_api import BrowserContext, Page, expect
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save, save_file

from tests.browser.conftest import SHOTS, open_studio
from tests.browser.hands import picture_of, tab, unfold
from tests.browser.test_control_cards import give_unit
from tests.diffusion.tiny import make_model
from tests.hub import COMMIT, TinyHub
from tests.library.test_controlnets import SD1_RESIDUALS, tensors
from tests.studio import Studio

pytestmark = pytest.mark.browser
GOOD = save({"unet.a.attn2.to_k.lora_A.weight": torch.randn(256, 256), "unet.a.attn2.to_k.lora_B.weight": torch.randn(256, 256)})
CARD = {"license": "openrail", "base_model": "ada/base", "instance_prompt": "soft haze"}


@pytest.fixture(scope="module")
def hub() -> Iterator[TinyHub]:
    files = {"ink.safetensors": GOOD, "sub/mood.safetensors": GOOD, "bad.safetensors": save({"x": torch.ones(2)})}
    with TinyHub({"ada/mood": {"pytorch_lora_weights.safetensors": GOOD}, "ada/many": files}, CARD) as tiny:
        yield tiny


@pytest.fixture(scope="module")
def bare(hub: TinyHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    data = tmp_path_factory.mktemp("bare")
    make_model(data / "models" / "bare", in_channels=4)
    for folder in ("loras", "controlnets", "ip_adapters"):
        (data / folder).mkdir()
    save_file(
        {"unet.a.attn2.to_k.lora_A.weight": torch.ones(2, 2048), "unet.a.attn2.to_k.lora_B.weight": torch.ones(8, 2)},
        data / "loras" / "large.safetensors",
    )
    save_arrays(tensors(768, SD1_RESIDUALS), data / "controlnets" / "sd15-canny.safetensors")
    before = dict(os.environ)
    os.environ["HF_ENDPOINT"] = hub.endpoint
    try:
        with Studio(data, "--model", "bare") as running:
            running.wait_ready()
            yield running
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def page(context: BrowserContext, bare: Studio) -> Page:
    opened = context.new_page()
    open_studio(opened, bare)
    return opened


def look_up(page: Page, name: str) -> None:
    page.get_by_label("From the hub").fill(name)
    page.get_by_role("button", name="Look up").click()


def said(page: Page, text: str) -> None:
    expect(page.locator(".rack-said")).to_contain_text(text)


def test_an_adapter_is_shown_agreed_to_and_fetched(page: Page, hub: TinyHub, bare: Studio) -> None:
    unfold(page, "LoRA styles")
    look_up(page, "https://huggingface.co/ada/mood")
    offer = page.locator(".rack-offer")
    expect(offer).to_contain_text(f"{len(GOOD) / 1e6:.1f} MB · licence: openrail · commit {COMMIT[:12]} · for ada/base")
    page.screenshot(path=SHOTS / "hub-offer-1440.png")
    assert hub.ranges() == []
    hub.breaks_at = 200_000
    offer.get_by_role("button").click()
    said(page, "0.2 MB are here: the next try goes on from there")
    expect(page.locator('.rack-card[data-name="mood"]')).to_have_count(0)
    hub.breaks_at = None
    hub.goes_on.clear()
    offer.get_by_role("button").click()
    # Under way: a share that is true, and nothing in the rack yet.
    said(page, "%")
    assert list((bare.data / "loras").glob("mood*")) == []
    hub.goes_on.set()
    said(page, "mood is in the rack.")
    card = page.locator('.rack-card[data-name="mood"]')
    expect(card).to_contain_text("openrail")
    expect(card).to_contain_text("from ada/mood")
    expect(card.get_by_role("button", name="+ soft haze")).to_be_visible()
    expect(page.locator(".rack-offer")).to_have_count(0)
    assert hub.ranges()[-1].startswith("bytes=")


def test_several_files_are_offered_each_and_a_bad_one_says_why(page: Page, bare: Studio) -> None:
    unfold(page, "LoRA styles")
    look_up(page, "ada/many")
    expect(page.locator(".rack-offer")).to_have_count(3)
    page.get_by_role("button", name="Fetch bad.safetensors").click()
    said(page, "The LoRA bad cannot be used: it holds no LoRA.")
    assert not (bare.data / "loras" / "bad.safetensors").exists()
    for wrong, sentence in (("ada/none", "There is no ada/none on the hub"), ("http://127.0.0.1/x/y", "names nothing on the hub")):
        look_up(page, wrong)
        said(page, sentence)
        expect(page.locator(".rack-offer")).to_have_count(0)


def test_a_fetch_goes_on_when_nobody_looks(page: Page, hub: TinyHub, bare: Studio) -> None:
    unfold(page, "LoRA styles")
    look_up(page, "ada/many/ink.safetensors")
    hub.goes_on.clear()
    # The bundled one of this name is there already: refused before a byte is fetched.
    page.locator(".rack-offer").get_by_role("button").click()
    said(page, "There is a LoRA named ink here already")
    look_up(page, "ada/many/sub/mood.safetensors")
    (bare.data / "loras" / "mood.safetensors").unlink(missing_ok=True)
    page.locator(".rack-offer").get_by_role("button").click()
    said(page, "%")
    page.goto("about:blank")
    hub.goes_on.set()
    open_studio(page, bare)
    unfold(page, "LoRA styles")
    card = page.locator('.rack-card[data-name="mood"]')
    for _ in range(40):
        if card.count():
            break
        page.reload()
        page.locator('.stage[data-loaded="yes"]').wait_for()
        unfold(page, "LoRA styles")
    expect(card).to_contain_text("from ada/many")


def test_what_does_not_fit_is_grey_and_says_why(page: Page) -> None:
    unfold(page, "LoRA styles")
    large = page.locator('.rack-card[data-name="large"]')
    expect(large).to_contain_text("Cannot be used: it was made for SDXL, not for bare.")
    expect(large.get_by_role("checkbox")).to_be_disabled()
    unfold(page, "Guidance style")
    expect(page.locator("#ctl-score_guidance")).to_contain_text("bare brings no second model that could judge a picture")
    for choice in page.locator("#ctl-score_guidance input").all():
        expect(choice).to_be_disabled()
    title = page.get_by_role("button", name="Reference pictures: none fits this model")
    title.click()
    expect(page.locator("#references .units-none")).to_contain_text("Put one that was made for it into data/ip_adapters")
    expect(page.locator("#references .units-add")).to_be_hidden()
    page.screenshot(path=SHOTS / "unfit-1440.png")
    tab(page, "ControlNet")
    card = page.locator("#units .card").first
    options = card.get_by_label("Control", exact=True).locator("option")
    expect(options.filter(has_text="it was made for Stable Diffusion 1, not for bare")).to_be_disabled()
    expect(options.filter(has_text="it was made for another model than bare").first).to_be_disabled()
    expect(card).to_contain_text("None of these fits this model.")


def test_weights_of_a_preprocessor_have_a_button_with_size_and_licence(page: Page, hub: TinyHub) -> None:
    tab(page, "ControlNet")
    give_unit(page, picture_of())
    card = page.locator("#units .card").first
    expect(card.locator("img[alt=Map]")).to_be_visible(timeout=60_000)
    card.get_by_label("Map from").select_option("openpose")
    button = card.get_by_role("button", name="Fetch 510 MB, licence: non-commercial research (CMU)")
    expect(button).to_be_visible()
    page.screenshot(path=SHOTS / "fetch-weights-1440.png")
    button.click()
    # This hub has none of them: said in the card, and the button is there again.
    expect(card.get_by_role("alert")).to_contain_text(
        "The weights of Pose (OpenPose) could not be fetched. That file is not in lllyasviel/Annotators"
    )
    expect(button).to_be_enabled()
    expect(card.get_by_role("alert")).to_contain_text(
        "Or put body_pose_model.pth, hand_pose_model.pth, facenet.pth into data/preprocessors/openpose by hand."
    )
    assert hub.asked[-1][1].endswith("body_pose_model.pth")
