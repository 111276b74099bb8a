"""The catalogue of models: enough of them, each with its licence, its sizes that add up, and nothing claimed that nobody has read."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from engine.contract.memory import Room, fit
from engine.contract.offers import ModelOffer, suggest
from engine.library.offers import OFFERS, read_offers
from engine.weights.fingerprints import TITLES

OPEN = {"Apache-2.0", "MIT", "CreativeML Open RAIL-M", "CreativeML Open RAIL++-M"}
NAMES = [offer.hub for offer in read_offers()]


def test_there_are_enough_of_every_size_and_kind() -> None:
    offers = read_offers()
    assert len([offer for offer in offers if 1 <= offer.disk_gb <= 40]) >= 12
    assert {offer.family for offer in offers} >= {"sd1", "sdxl", "flux1", "flux2", "zimage", "qwen"}
    assert len({offer.name for offer in offers}) == len(offers)
    # Those that edit by a sentence say so.
    assert {offer.name for offer in offers if "edits" in offer.good_at.lower()} >= {
        "FLUX.2-klein-4B", "FLUX.2-klein-base-4B", "Qwen-Image-Edit", "Qwen-Image-Edit-2509", "Qwen-Image-Edit-2511"
    }  # fmt: skip


@pytest.mark.parametrize("offer", read_offers(), ids=NAMES)
def test_a_row_holds_together(offer: ModelOffer) -> None:
    assert offer.family in TITLES
    assert offer.licence in OPEN
    assert offer.card.endswith(offer.hub)
    # No pinned revision is never a silent gap.
    assert (offer.revision is None) == ("revision" in offer.unverified)
    # On disk it lies in 16 or in 32 bit, or in both.
    assert 0.99 <= offer.disk_gb / sum(offer.parts_gb.values()) <= 2.05
    assert offer.command == f"python -m engine models download {offer.id}"
    assert offer.id.startswith(offer.hub)


def test_memory_follows_from_the_parts() -> None:
    by_name = {offer.name: offer for offer in read_offers()}
    gpu = Room("GPU", 8 * 1024**3, is_host=False)
    assert fit(by_name["stable-diffusion-xl-base-1.0"].parts, gpu).text == "7.7 of 8 GB"
    assert fit(by_name["Z-Image-Turbo"].parts, gpu).text == "3.2 of 8 GB, in pieces"
    assert not fit(by_name["Qwen-Image"].parts, Room("this computer", 16 * 1024**3, is_host=True)).is_possible


@pytest.mark.parametrize(
    ("gigabytes", "title"),
    [
        (2, None),
        (4, "DreamShaper 8"),
        (6, "Segmind SSD-1B"),
        (8, "SDXL 1.0"),
        (12, "SDXL 1.0"),
        (24, "Z-Image Turbo"),
        (48, "FLUX.1 schnell"),
        (80, "Qwen-Image"),
    ],
)
def test_what_is_suggested_lies_whole_on_the_graphics_card(gigabytes: int, title: str | None) -> None:
    found = suggest(read_offers(), Room("GPU", gigabytes * 1024**3, is_host=False))
    assert (found.title if found else None) == title
    if found:
        assert fit(found.parts, Room("GPU", gigabytes * 1024**3, is_host=False)).plan == "whole"


def test_without_a_graphics_card_the_starter_is_enough() -> None:
    assert suggest(read_offers(), Room("this computer", 256 * 1024**3, is_host=True)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"revision": "main"},
        {"hub": "../../etc"},
        {"licence_link": "javascript:alert(1)"},
        {"disk_gb": -1},
        {"disk_gb": float("nan")},
        {"parts_gb": {}},
        {"x": 1},
    ],
)
def test_a_row_that_is_wrong_is_refused(change: dict[str, object]) -> None:
    row = json.loads(OFFERS.read_text(encoding="utf-8"))[0]
    with pytest.raises(ValidationError):
        ModelOffer.model_validate(row | change)
