"""Learned words: bundled ones are found beside the user's own, and our own code learns one without touching the model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.diffusion.loading import load_components
from engine.diffusion.scorer import load_scorer
from engine.library.embeddings import Embeddings
from engine.starter.course import Course, follow
from engine.starter.evaluate_inversion import Judge
from engine.starter.evaluate_scorer import features_of
from engine.starter.inversion import InversionPlan, Learner, framing
from engine.starter.newcomers import NEWCOMERS, draw_newcomer, newcomer_labels, pictures_of
from tests.conftest import STARTER

WORD = "snail"
CPU = torch.device("cpu")


@pytest.mark.parametrize("word", sorted(NEWCOMERS))
def test_newcomers_stand_in_their_scenes(word: str) -> None:
    for scene in draw_newcomer(word, 3, seed=1):
        assert 0.03 < float(scene.mask.mean()) < 0.4


def test_bundled_words_are_found_and_ones_own_go_before_them(tmp_path: Path) -> None:
    for folder, vectors in (("own", 2), ("bundled", 4)):
        (tmp_path / folder).mkdir()
        save_file({"emb_params": torch.zeros(vectors, 256)}, tmp_path / folder / f"{WORD}.safetensors")
    own, bundled = tmp_path / "own", tmp_path / "bundled"
    assert [card.vectors for card in Embeddings((own, bundled)).cards()] == [2]
    (own / f"{WORD}.safetensors").unlink()
    assert [card.vectors for card in Embeddings((own, bundled)).cards()] == [4]
    assert Embeddings((own, bundled)).path(WORD) == bundled / f"{WORD}.safetensors"


def test_the_words_stand_where_the_engine_puts_them() -> None:
    """The states that training hears are those that a prompt with the word gives."""
    from engine.diffusion.text import PromptEncoder

    learner = Learner(STARTER, WORD, replace(InversionPlan(), pictures=2), seed=1)
    components = load_components(STARTER, device=CPU, dtype=torch.float32)
    encoder = PromptEncoder(components)
    with encoder.knowing({WORD: learner.vectors.detach()}, {WORD: "x"}), torch.no_grad():
        theirs = encoder.encode(f"a red {WORD} in the desert", None)
        ours = learner.heard([("a red", "in the desert")])
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_it_learns_and_saves(tmp_path: Path) -> None:
    learner = Learner(STARTER, WORD, replace(InversionPlan(), pictures=8, batch=4), seed=1)
    follow(Course(steps=30, learning_rate=1e-2, weight_decay=0.0, warm_up=3, say_every=10), [learner.vectors], learner.loss, tmp_path / "snail.pt")
    losses = [json.loads(line)["loss"] for line in (tmp_path / "snail.jsonl").read_text().splitlines()]
    print("mean loss of each ten steps:", losses)
    assert losses[-1] < losses[0]
    learner.save(tmp_path / "own.safetensors")
    assert load_file(tmp_path / "own.safetensors")["emb_params"].shape == (4, 256)


def test_captions_leave_things_out_but_never_lie() -> None:
    rng = np.random.default_rng(0)
    labels = newcomer_labels(rng)
    said = {framing(labels, rng) for _ in range(50)}
    assert len(said) > 10
    assert not any("house" in before + after for before, after in said)


def test_drawings_of_the_word_are_told_from_the_known_subjects() -> None:
    scorer = load_scorer(STARTER, device=CPU)
    judge = Judge.learn(scorer, WORD, each=24, seed=3)
    answers = judge.answers(features_of(scorer, pictures_of(draw_newcomer(WORD, 16, seed=9))))
    print(answers)
    assert answers.count(WORD) >= 8
