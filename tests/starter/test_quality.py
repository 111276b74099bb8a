"""The measures of the evaluation, on cases whose answer is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engine.starter.attributes import SceneLabels
from engine.starter.captions import HELD_OUT_PHRASINGS, caption
from engine.starter.evaluate import full_caption
from engine.starter.quality import frechet, nearest
from engine.starter.scenes import draw
from tests.conftest import STARTER

LABELS = SceneLabels(subject="castle", place="hills", time="day", colour="red", count="two", distance="far")


def test_frechet_distance_of_known_gaussians() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(0, 1, (20_000, 4))
    b = rng.normal(0, 1, (20_000, 4)) * 3 + 2
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    # Means 2 apart in four directions, spreads 1 and 3: 4 · (2² + (3 − 1)²).
    assert frechet(a, b) == pytest.approx(32, rel=0.05)


def test_a_copy_is_found_also_mirrored() -> None:
    scenes = np.stack([draw(LABELS, seed=k, size=64).image for k in range(12)])
    asked = np.stack([scenes[3], scenes[5][:, ::-1], draw(LABELS, seed=99, size=64).image])
    distances = nearest(asked, scenes)
    assert distances[0] == pytest.approx(0, abs=0.05)
    assert distances[1] == pytest.approx(0, abs=0.05)
    assert distances[2] > 3


def test_held_out_phrasings_say_the_same_and_are_never_trained_on() -> None:
    rng = np.random.default_rng(1)
    trained = {caption(LABELS, rng).lower() for _ in range(3_000)}
    for phrasing in HELD_OUT_PHRASINGS:
        text = full_caption(LABELS, phrasing)
        assert all(word in text for word in ("two red castles", "on green hills", "by day", "in the centre", "far away"))
        assert text.lower() not in trained


def test_the_card_tells_every_run() -> None:
    facts = json.loads((STARTER / "easel.json").read_text(encoding="utf-8"))
    card = (STARTER / "README.md").read_text(encoding="utf-8")
    for run in facts["training"]:
        assert f"{run['samples']:,}" in card
