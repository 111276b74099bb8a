"""Estimates: right about what they have seen after a few pictures, honest about how sure they are, kept over a restart."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from engine import Engine, Finished, Settings, TextToImage
from engine.jobs.estimates import Estimates
from engine.jobs.fit import Fit, Traits
from engine.store import open_store, timings_table
from tests.conftest import OWNER, events_of
from tests.jobs.crowd import RECIPE

KINDS = ("plain", "slow", "quick")
FACTORS = {"plain": 1.0, "slow": 1.8, "quick": 0.8}


def truth(traits: Traits) -> float:
    constant, decoding, call, size = (cost * term for cost, term in zip((0.03, 0.6, 0.012, 0.9), traits.terms(), strict=True))
    return (constant + decoding + call + size) * FACTORS[traits.kind]


def drawn(rng: random.Random) -> Traits:
    megapixels = rng.choice((64 * 64, 128 * 128, 256 * 256, 512 * 512)) / 1e6
    return Traits(rng.choice(KINDS), megapixels, megapixels * rng.choice((2, 8, 20, 60)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.floats(0, 0.2))
def test_the_fit_finds_what_times_are_made_of(seed: int, noise: float) -> None:
    rng = random.Random(seed)
    seen = [(one := drawn(rng), truth(one) * rng.lognormvariate(0, noise)) for _ in range(40)]
    fit = Fit.of(seen)
    errors = [abs(fit.spread(one).seconds / truth(one) - 1) for one in (drawn(rng) for _ in range(40))]
    assert statistics.median(errors) < 0.1 + noise


def test_one_picture_is_enough_to_speak() -> None:
    seen = Traits("plain", 0.1, 1.0)
    fit = Fit.of([(seen, 2.0)])
    assert fit.spread(seen).seconds == pytest.approx(2.0, rel=0.15)
    assert fit.spread(Traits("plain", 0.1, 4.0)).seconds == pytest.approx(8.0, rel=0.5)


def test_the_range_narrows_with_what_is_seen_and_holds_most_of_it() -> None:
    rng = random.Random(5)
    seen = [(one := drawn(rng), truth(one) * rng.lognormvariate(0, 0.1)) for _ in range(100)]
    early, late = Fit.of(seen[:2]), Fit.of(seen)
    traits = seen[0][0]
    assert early.spread(traits).high / early.spread(traits).low > late.spread(traits).high / late.spread(traits).low
    inside = [late.spread(one).low <= took <= late.spread(one).high for one, took in seen]
    assert 0.7 < sum(inside) / len(inside) <= 1


def test_one_picture_that_the_machine_was_too_busy_for_bends_nothing() -> None:
    rng = random.Random(2)
    seen = [(one := drawn(rng), truth(one)) for _ in range(30)]
    seen.insert(15, (seen[0][0], 20 * seen[0][1]))
    errors = [abs(Fit.of(seen).spread(one).seconds / truth(one) - 1) for one, _ in seen]
    assert statistics.median(errors) < 0.15


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**16), st.integers(0, 10), st.floats(-7, 7))
def test_one_wrong_time_among_ten_bends_nothing(seed: int, place: int, by: float) -> None:
    """A picture that was resumed was once learnt with the seconds of its last step alone, and all prices came to nothing"""
    rng = random.Random(seed)
    seen = [(one := drawn(rng), truth(one) * rng.lognormvariate(0, 0.1)) for _ in range(10)]
    seen.insert(place, (drawn(rng), 2.718**by))
    fit = Fit.of(seen)
    away = [fit.spread(one).seconds / took for one, took in (*seen[:place], *seen[place + 1 :])]
    assert 0.5 < statistics.median(away) < 2
    # A kind that was never seen is priced like the others.
    unseen = [fit.spread(Traits("new", one.megapixels, one.work)).seconds / took for one, took in (*seen[:place], *seen[place + 1 :])]
    assert 1 / 3 < statistics.median(unseen) < 3


def test_a_machine_that_grew_slower_shows() -> None:
    rng = random.Random(3)
    seen = [(one := drawn(rng), truth(one) * (1 if number < 40 else 3)) for number in range(120)]
    assert Fit.of(seen).spread(seen[0][0]).seconds == pytest.approx(3 * truth(seen[0][0]), rel=0.3)


def mixed(rng: random.Random) -> TextToImage:
    size = rng.choice((64, 128, 192))
    values = {
        "prompt": "a red castle at sunset", "width": size, "height": rng.choice((64, size)), "steps": rng.choice((2, 4, 8, 12)),
        "count": rng.choice((1, 1, 2)), "scheduler": rng.choice(("ddim", "euler_a", "heun", "dpmpp_2m", "unipc")),
        "guidance_scale": rng.choice((1.0, 4.0)), "seed": rng.randrange(2**32),
    }  # fmt: skip
    return TextToImage.model_validate(values)


@pytest.mark.timed
def test_the_median_error_after_20_mixed_jobs_is_at_most_a_quarter(tmp_path: Path) -> None:
    """Real pictures of the starter. Each estimate is made before the job is asked for, from what came before it."""
    rng, errors, inside = random.Random(1), [], []
    options = Settings(data=tmp_path, worker="inline", dtype="float32", device="cpu")
    with Engine(options) as engine:
        assert engine.estimate(mixed(rng), OWNER).seconds is None
        for _ in range(20):
            run(engine, mixed(rng))
        for _ in range(12):
            request = mixed(rng)
            estimate = engine.estimate(request, OWNER)
            # The middle of three: what the picture takes, not what else the machine did meanwhile.
            took = statistics.median(run(engine, request) for _ in range(3))
            assert estimate.seconds is not None
            assert estimate.low is not None
            assert estimate.high is not None
            assert estimate.low < estimate.seconds < estimate.high
            assert (estimate.position, estimate.ahead_s) == (1, 0.0)
            errors.append(abs(estimate.seconds / took - 1))
            inside.append(estimate.low <= took <= estimate.high)
        before = engine.estimate(request, OWNER)
    error = statistics.median(errors)
    print(f"estimates: median error {error:.0%} after 20 mixed jobs; {sum(inside)} of {len(inside)} within their range")
    assert error <= 0.25
    engine = Engine(options)
    engine.start()
    assert engine.estimate(request, OWNER).seconds == pytest.approx(before.seconds, rel=1e-6)
    engine.close()


def run(engine: Engine, request: TextToImage) -> float:
    ending = events_of(engine, engine.submit(request, OWNER).id)[-1]
    assert isinstance(ending, Finished)
    return sum(picture.seconds for picture in ending.pictures)


def test_the_place_in_line_is_known_before_asking(tmp_path: Path, request_of: object) -> None:
    engine = Engine(Settings(data=tmp_path, worker="inline", dtype="float32", device="cpu"))
    small = TextToImage.model_validate({"prompt": "x", "width": 64, "height": 64, "steps": 2})
    large = TextToImage.model_validate({"prompt": "x", "width": 256, "height": 256, "steps": 50})
    for _ in range(3):
        engine.submit(large, "visitor-other")
    assert engine.estimate(large, OWNER).position == 2
    # A quick job passes slow ones of somebody who has not waited longer.
    assert engine.estimate(small, OWNER).position == 1
    assert engine.estimate(large, "visitor-other").position == 4
    assert engine.estimate(large, OWNER).ahead_s is None
    engine.close()


def test_what_was_learned_is_kept_once_the_database_is_back(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    estimates = Estimates(store)
    for _ in range(3):
        estimates.learn(RECIPE, "cpu", 2.0)
    with contextlib.closing(sqlite3.connect(tmp_path / "easel.db", isolation_level=None)) as other:
        other.execute("ALTER TABLE timings RENAME TO away")
        estimates.save()
        assert estimates.spread(RECIPE, "cpu") is not None
        other.execute("ALTER TABLE away RENAME TO timings")
    assert Estimates(store).spread(RECIPE, "cpu") is None
    estimates.learn(RECIPE, "cpu", 2.0)
    estimates.save()
    estimates.save()
    with store.connect() as db:
        assert db.execute(select(func.count()).select_from(timings_table)).scalar() == 4
    found = Estimates(store).spread(RECIPE, "")
    assert found is not None
    assert found.seconds == pytest.approx(2.0, rel=0.1)
    store.dispose()
