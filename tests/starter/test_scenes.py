"""The drawn world: the same seed draws the same scene, words are true, kept-back pairs stay back."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from engine.starter.attributes import HELD_OUT_COLOURS, HELD_OUT_PLACES, PLACES, SUBJECTS, SceneLabels, is_held_out, is_sensible, random_labels
from engine.starter.captions import HELD_OUT_WORDS, SYNONYMS, caption, caption_and_said
from engine.starter.scene.palette import COLOUR_VALUES
from engine.starter.scenes import draw


def test_the_same_seed_draws_the_same_scene() -> None:
    labels = random_labels(np.random.default_rng(1))
    first, again, other = draw(labels, 5), draw(labels, 5), draw(labels, 6)
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, other.image)
    assert first.image.shape == (256, 256, 3)


@pytest.mark.parametrize("place", PLACES)
def test_a_larger_picture_shows_the_same_scene(place: str) -> None:
    for time_of_day, weather in (("day", "cloudy"), ("night", "clear")):
        labels = SceneLabels("tower", place, time_of_day, "red", weather=weather)
        small, large = draw(labels, 8).image, draw(labels, 8, size=512).image
        assert large.shape == (512, 512, 3)
        reduced = cv2.resize(large, (256, 256), interpolation=cv2.INTER_AREA)
        difference = float(np.abs(reduced.astype(float) - small).mean())
        print(f"{place}, {time_of_day}: {difference:.2f} of 255")
        assert difference < 1.5


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_subject_stands_where_the_words_say(subject: str) -> None:
    place = "sea" if subject == "ship" else "hills"
    centres: dict[str, float] = {}
    for position in ("left", "centre", "right"):
        scene = draw(SceneLabels(subject, place, "day", "red", position), 3)
        columns = scene.mask.sum(0)
        centres[position] = float((columns * np.arange(256)).sum() / columns.sum() / 256)
        assert 0.05 < float(scene.mask.mean()) < 0.5
        assert float(scene.depth[scene.mask > 0.9].mean()) < float(scene.depth[scene.mask < 0.1].mean())
    assert centres["left"] < 0.42 < centres["centre"] < 0.58 < centres["right"]


@pytest.mark.parametrize("colour", COLOUR_VALUES)
def test_the_subject_has_its_colour(colour: str) -> None:
    scene = draw(SceneLabels("pyramid", "hills", "day", colour, style="flat"), 1)
    mean = scene.image[scene.mask > 0.95].mean(0) / 255
    nearest = min(COLOUR_VALUES, key=lambda name: float(np.abs(COLOUR_VALUES[name] * 0.85 - mean).sum()))
    assert nearest == colour


def test_nights_are_dark() -> None:
    def brightness(moment: str) -> float:
        return float(np.mean([draw(SceneLabels("tower", place, moment, "red"), 2).image.mean() for place in PLACES[:4]]))

    assert brightness("night") < 0.6 * brightness("day")


def test_drawing_is_quick_enough() -> None:
    labels = [random_labels(np.random.default_rng(k)) for k in range(12)]
    start = time.process_time()
    for k, one in enumerate(labels):
        draw(one, k)
    rate = len(labels) / (time.process_time() - start)
    print(f"{rate:.0f} scenes per CPU second")
    assert rate >= 15


def test_kept_back_pairs_never_come_up() -> None:
    rng = np.random.default_rng(0)
    for _ in range(4000):
        labels = random_labels(rng)
        assert not is_held_out(labels)
        assert is_sensible(labels.subject, labels.place)
    kept = [random_labels(rng, held_out=True) for _ in range(300)]
    assert all(is_held_out(one) for one in kept)
    assert {(one.subject, one.colour) for one in kept} & HELD_OUT_COLOURS
    assert {(one.subject, one.place) for one in kept} & HELD_OUT_PLACES


def test_captions_are_true_and_varied() -> None:
    rng = np.random.default_rng(4)
    labels = SceneLabels("castle", "mountains", "sunset", "red", "left", "cloudy", "painting")
    texts = [caption_and_said(labels, rng) for _ in range(400)]
    assert len({text for text, _ in texts}) > 300
    for text, said in texts:
        low = text.lower()
        for name in said:
            assert any(word in low for word in SYNONYMS[getattr(labels, name)]), (name, text)
        for other in ("night", "forest", "blue", "right", "robot"):
            assert other not in low, text


def test_kept_back_words_are_not_trained() -> None:
    rng = np.random.default_rng(5)
    words = {word for _ in range(3000) for word in caption(random_labels(rng), rng).lower().replace(",", " ").split()}
    assert not {word for word in HELD_OUT_WORDS if " " not in word} & words
