"""The catalogue of models that could be downloaded, from `presets/models.json`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import TypeAdapter

from engine.contract.offers import ModelOffer

OFFERS = Path(__file__).resolve().parents[2] / "presets" / "models.json"


@lru_cache(maxsize=1)
def read_offers() -> tuple[ModelOffer, ...]:
    """From the smallest to the largest."""
    found = TypeAdapter(tuple[ModelOffer, ...]).validate_json(OFFERS.read_bytes())
    return tuple(sorted(found, key=lambda offer: offer.disk_gb))
