"""The starter's scorer: small, read by the usual tools, right about scenes it never saw, and learnt by our own code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from PIL import Image

from engine.contract.errors import DamagedFile
from engine.diffusion.images import to_pixels
from engine.diffusion.scorer import Scorer, load_scorer
from engine.starter.attributes import SceneLabels, random_labels
from engine.starter.course import Course, follow
from engine.starter.evaluate_scorer import features_of, retrieval, words_accuracy
from engine.starter.scenes import draw
from engine.starter.scorer import Lessons, ScorerPlan, captions_of, is_true, matching_loss, save_scorer, values_of
from engine.starter.views import Views, load_views, reduced
from tests.conftest import STARTER

PLAN = ScorerPlan(batch=16)
COURSE = Course(steps=60, learning_rate=1e-3, warm_up=5, say_every=20)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return load_scorer(STARTER, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def views() -> Views:
    rng = np.random.default_rng(2)
    labels = [random_labels(rng, is_wide=True) for _ in range(24)]
    scenes = np.stack([reduced(draw(one, seed=k, size=128).image) for k, one in enumerate(labels)])
    return Views(scenes, scenes[:4], np.arange(4), labels)


def lessons(views: Views) -> Lessons:
    torch.manual_seed(1)
    return Lessons(views, STARTER, PLAN, seed=1)


def test_it_is_small() -> None:
    sizes = [(STARTER / name).stat().st_size for name in ("image_encoder/model.safetensors", "scorer.safetensors")]
    assert sum(sizes) <= 2_200_000


def test_it_knows_scenes_that_it_never_saw(scorer: Scorer) -> None:
    rng = np.random.default_rng(8)
    labels = [random_labels(rng, held_out=None, is_wide=True) for _ in range(128)]
    features = features_of(scorer, np.stack([draw(one, seed=5_000_000 + k).image for k, one in enumerate(labels)]))
    found, words = retrieval(scorer, features, labels), words_accuracy(scorer, features, labels)
    print(found, words)
    assert min(found.values()) >= 0.7
    assert all(words[name] >= least for name, least in {"subject": 0.6, "place": 0.9, "time": 0.95, "colour": 0.85}.items())


def test_stock_tools_read_the_tower_and_see_the_same(scorer: Scorer) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(STARTER, dtype=torch.float32, local_files_only=True)
    image = draw(SceneLabels("castle", "hills", "day", "red"), 4).image
    pixels = pipe.feature_extractor(images=Image.fromarray(image), return_tensors="pt").pixel_values
    with torch.no_grad():
        stock = torch.nn.functional.normalize(pipe.image_encoder(pixels).image_embeds, dim=1)
        assert float((stock * scorer.image_features(to_pixels(image))).sum()) > 0.999


def test_captions_that_leave_things_out_are_true_of_several_pictures() -> None:
    red, blue = SceneLabels("castle", "hills", "day", "red"), SceneLabels("castle", "hills", "night", "blue")
    shown = values_of([red, blue])
    stated = np.full((3, 9), -1)
    stated[0, 0] = shown[0, 0]
    stated[1, [0, 3]] = shown[0, [0, 3]]
    stated[2] = shown[1]
    truth = is_true(shown, stated)
    assert truth.tolist() == [[True, True, False], [True, False, True]]
    # What is true of both is no mistake for either: only right answers in right shares cost least.
    right, wrong = (torch.tensor(rows) for rows in ([[9.0, 9.0, 0.0], [9.0, 0.0, 9.0]], [[9.0, 0.0, 9.0], [0.0, 9.0, 9.0]]))
    assert float(matching_loss(right, truth)) < float(matching_loss(wrong, truth))


def test_every_picture_has_a_true_caption_and_altered_ones_are_false_for_their_own() -> None:
    rng = np.random.default_rng(0)
    labels = [random_labels(rng, is_wide=True) for _ in range(32)]
    texts, stated = captions_of(labels, rng, wrong=1.0)
    truth = is_true(values_of(labels), stated)
    assert len(texts) == 64
    assert truth[:, :32].diagonal().all()
    assert truth[:, 32:].mean() < truth[:, :32].mean()


def test_a_few_steps_lower_the_loss(views: Views, tmp_path: Path) -> None:
    pupil = lessons(views)
    follow(COURSE, list(pupil.pair.parameters()), pupil.loss, tmp_path / "scorer.pt")
    losses = [json.loads(line)["loss"] for line in (tmp_path / "scorer.jsonl").read_text().splitlines()]
    print("mean loss of each twenty steps:", losses)
    assert losses[-1] < 0.9 * losses[0]
    (tmp_path / "model_index.json").write_text("{}")
    save_scorer(pupil.pair, tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["image_encoder"] == ["transformers", "CLIPVisionModelWithProjection"]


def test_a_resumed_training_is_the_same_training(views: Views, tmp_path: Path) -> None:
    ways = {"whole": (6,), "resumed": (2, 6)}
    ends: dict[str, list[torch.Tensor]] = {}
    for name, stops in ways.items():
        for stop in stops:
            pupil = lessons(views)
            follow(replace(COURSE, steps=stop, cooldown=1e-9), list(pupil.pair.parameters()), pupil.loss, tmp_path / name / "scorer.pt")
        ends[name] = [parameter.detach() for parameter in pupil.pair.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(ends["whole"], ends["resumed"], strict=True))


def test_a_damaged_checkpoint_is_said_in_words(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    follow(replace(COURSE, steps=2), [weight], lambda _: (weight.square().sum(), {}), tmp_path / "small.pt")
    (tmp_path / "small.pt").write_bytes((tmp_path / "small.pt").read_bytes()[:-200])
    with pytest.raises(DamagedFile, match=r"The checkpoint small\.pt"):
        follow(replace(COURSE, steps=4), [weight], lambda _: (weight.square().sum(), {}), tmp_path / "small.pt")


def test_views_are_made_once(tmp_path: Path, views: Views) -> None:
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    large = np.stack([draw(one, seed=k).image for k, one in enumerate(views.labels[:3])])
    np.save(scenes / "scenes.npy", large)
    np.save(scenes / "latents-256.npy", np.zeros((3, 8, 32, 32), np.float16))
    (scenes / "labels.jsonl").write_text("\n".join(json.dumps({**one.to_plain(), "is_degraded": False}) for one in views.labels[:3]))
    first = load_views(scenes, tmp_path / "work", STARTER, imagined=2)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()}
    again = load_views(scenes, tmp_path / "work", STARTER, imagined=2)
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()}
    assert first.imagined.shape == (2, 128, 128, 3)
    assert np.array_equal(first.imagined, again.imagined)
    assert np.array_equal(first.scenes[0], reduced(large[0]))
