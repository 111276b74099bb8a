"""The starter's IP-Adapter: what it is taught, where it begins, what it learns, and what the bundled one does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.contract.references import REFERENCE_WEIGHT
from engine.diffusion.scorer import load_scorer
from engine.library.catalogue import read_card
from engine.library.ip_adapters import read_card as read_adapter
from engine.starter.attributes import SUBJECTS, SceneLabels, random_labels
from engine.starter.course import Course, follow
from engine.starter.evaluate import full_caption
from engine.starter.evaluate_reference import FILE, led, load_with_adapter, palette_distance
from engine.starter.evaluate_scorer import features_of, words_accuracy
from engine.starter.lora import encode
from engine.starter.reference import ReferencePlan, Student, picture_embeds
from engine.starter.reference_lessons import Mix, make_lesson
from engine.starter.reference_start import fit_projection
from engine.starter.scenes import draw
from engine.starter.views import reduced
from tests.conftest import STARTER

LABELS = [
    SceneLabels("castle", "hills", "day", "red"), SceneLabels("ship", "sea", "night", "white"), SceneLabels("balloon", "desert", "sunset", "blue"),
    SceneLabels("tree", "alien planet", "dawn", "green"),
]  # fmt: skip


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scenes, their latents and labels, as a folder of training data."""
    folder = tmp_path_factory.mktemp("scenes")
    pictures = np.stack([draw(one, seed=k).image for k, one in enumerate(LABELS)])
    np.save(folder / "scenes.npy", pictures)
    np.save(folder / "latents-256.npy", encode(STARTER, pictures).half().numpy())
    (folder / "labels.jsonl").write_text("\n".join(json.dumps({**one.to_plain(), "is_degraded": False}) for one in LABELS))
    return folder


def embeds_of(pictures: np.ndarray) -> torch.Tensor:
    return picture_embeds(STARTER, np.stack([reduced(one) for one in pictures]))


@pytest.fixture(scope="module")
def pupil(scenes: Path) -> Student:
    """At its beginning."""
    plan = replace(ReferencePlan(), batch=4, mix=Mix(silent=1.0, other=0.0))
    return Student(STARTER, scenes, embeds_of(np.load(scenes / "scenes.npy")), plan, seed=1)


def distance(pupil: Student, *, weight: float) -> float:
    """Mean square distance to the teacher over eight steps that no training has."""
    for layer in pupil.unet.attn_processors.values():
        if hasattr(layer, "to_k_ip"):
            layer.scale = [weight]
    with torch.no_grad():
        return float(np.mean([pupil.loss(step)[1]["taught"] for step in range(10**6, 10**6 + 8)]))


def test_words_win_and_the_picture_says_the_rest() -> None:
    rng = np.random.default_rng(3)
    labels = [random_labels(rng, is_wide=True) for _ in range(60)]
    rows = np.arange(60)
    for _ in range(200):
        silent = make_lesson(labels, rows, Mix(silent=1.0, other=0.0), rng)
        assert (silent.words, silent.goal, silent.is_true) == ("", full_caption(labels[silent.picture]), True)
        same = make_lesson(labels, rows, Mix(silent=0.0, other=0.0), rng)
        assert same.words
        assert same.goal == full_caption(labels[same.picture])
        other = make_lesson(labels, rows, Mix(silent=0.0, other=1.0), rng)
        assert not other.is_true
        assert other.words
    # A picture of a castle at night on the ice, the words "a tree": a tree at night on the ice.
    two = [SceneLabels("castle", "ice", "night", "red"), SceneLabels("tree", "hills", "day", "green")]
    goals = {make_lesson(two, np.array([0, 1]), Mix(silent=0.0, other=1.0), rng).goal for _ in range(300)}
    assert "a red tree on the ice at night, in the centre, digital painting" in goals


def test_the_ridge_finds_a_map_that_is_there() -> None:
    chance = torch.Generator().manual_seed(2)
    embeds, wanted = torch.randn(400, 12, generator=chance), torch.randn(12, 4 * 16, generator=chance)
    tokens = (embeds @ wanted).view(400, 4, 16)
    found, size = fit_projection(embeds, tokens)
    assert float((found.T - wanted).abs().max()) < 0.05
    assert size == pytest.approx(float(tokens.std(-1).mean()), rel=0.02)


def test_it_leads_before_it_has_learnt_anything_and_no_picture_is_no_adapter(pupil: Student) -> None:
    without, led_by = distance(pupil, weight=0.0), distance(pupil, weight=0.6)
    print(f"distance to the teacher without it {without:.3f}, with it {led_by:.3f}")
    assert led_by < 0.6 * without
    sample, words = torch.randn(1, 8, 32, 32), torch.randn(1, 77, 256)
    answers: list[torch.Tensor] = []
    for weight in (0.0, 1.0):
        distance(pupil, weight=weight)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            told = {"image_embeds": [torch.zeros(1, 1, 128)]}
            answers.append(pupil.unet(sample, 500, encoder_hidden_states=words, added_cond_kwargs=told).sample)
    assert torch.equal(*answers)


def test_it_learns_and_diffusers_reads_it(pupil: Student, scenes: Path, tmp_path: Path) -> None:
    before = distance(pupil, weight=1.0)
    follow(Course(steps=16, learning_rate=1e-3, warm_up=3, say_every=8), pupil.weights, pupil.loss, tmp_path / "reference.pt")
    after = distance(pupil, weight=1.0)
    print(f"distance to the teacher: {before:.3f} before, {after:.3f} after 16 steps")
    assert after < 0.95 * before
    pupil.save(tmp_path / "own.safetensors")
    pipe = load_with_adapter(STARTER, tmp_path / "own.safetensors")
    # What the pipeline runs is what was learnt: the same answer to the same question.
    sample, told = torch.randn(1, 8, 32, 32), {"image_embeds": [embeds_of(np.load(scenes / "scenes.npy"))[:1, None]]}
    words = torch.zeros(1, 77, 256)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        ours = pupil.unet(sample, 500, encoder_hidden_states=words, added_cond_kwargs=told).sample.float()
        theirs = pipe.unet.float()(sample, 500, encoder_hidden_states=words, added_cond_kwargs=told).sample.float()
    assert float((ours - theirs).abs().mean()) < 0.03 * float(ours.abs().mean())


def test_the_bundled_file_fits_the_starter_and_its_own_tower() -> None:
    card, model = read_adapter(FILE), read_card(STARTER)
    print(card.title, card.bytes_on_disk)
    assert card.refusal is None
    assert (card.layers, card.width, card.image_width) == (model.attention_widths, model.text_width, 128)
    assert (card.licence, card.image_encoder) == ("Apache-2.0", "model")
    assert card.bytes_on_disk <= 2_500_000


def test_the_bundled_one_leads_as_its_card_says() -> None:
    """Without words the picture says it all; with words for another subject it says the rest. Judged by the bundled scorer and by the palette."""
    rng = np.random.default_rng(41)
    labels = [random_labels(rng) for _ in range(8)]
    pictures = np.stack([draw(one, seed=9_000_000 + k).image for k, one in enumerate(labels)])
    embeds, scorer = embeds_of(pictures), load_scorer(STARTER, device=torch.device("cpu"))
    others = [replace(one, subject=SUBJECTS[(SUBJECTS.index(one.subject) + 5) % len(SUBJECTS)]) for one in labels]
    pipe = load_with_adapter(STARTER, FILE)
    alone, led_alone = (led(pipe, [""] * 8, embeds, scale=scale, seed=5, steps=12) for scale in (0.0, 1.0))
    mixed = led(pipe, [f"a {one.subject}" for one in others], embeds, scale=REFERENCE_WEIGHT, seed=5, steps=12)
    plain, told, both = (
        words_accuracy(scorer, features_of(scorer, one), truth) for one, truth in ((alone, labels), (led_alone, labels), (mixed, others))
    )
    palettes = [round(palette_distance(one, pictures), 3) for one in (alone, led_alone, mixed)]
    print(f"without it {plain}\nwithout words {told}\nwith other words {both}\npalettes {palettes}")
    assert min(told[name] for name in ("place", "time", "colour")) >= 0.75
    assert max(plain[name] for name in ("place", "colour")) <= 0.5
    assert min(both[name] for name in ("place", "time")) >= 0.6
    assert both["subject"] >= 0.5
    assert max(palettes[1:]) < 0.6 * palettes[0]
