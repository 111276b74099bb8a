"""Seconds from traits: a small regression that is right about one picture after the first, and about all kinds after a few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

# A timing counts this share of the one after it: a machine that grew slower shows soon.
_MEMORY = 0.97
# How soon the level of all times follows the newest: a machine that is busy now is busy for the next picture too.
_LEVEL_MEMORY = 0.75
# How firmly the fit holds on to "time is proportional to work" while little is known, in timings.
_PRIOR = 0.05
# A kind of recipe is believed to differ from the others only as far as it has been seen to, against so many unseen timings that do not.
_KIND_PRIOR = 1.0
# Before anything is known, two of three times lie within this factor (in logarithm); counts as so many timings.
_UNSURE, _UNSURE_COUNT = 0.5, 2.0
# How far one time may pull the costs, in logarithm: what lies further off pulls no harder.
_PULL = 0.5
# Turns end here, or where the last one has changed no time by more than this share.
_TURNS, _SETTLED = 12, 0.002
# Four of five times lie within so many deviations.
_RANGE = 1.28


@dataclass(frozen=True)
class Traits:
    """One picture: what kind of recipe, its megapixels, and its megapixel-steps (`estimates.work`)."""

    kind: str
    megapixels: float
    work: float

    def terms(self) -> list[float]:
        """What its time is a sum of: a constant, the decoding, what each run of the model costs at any size, and what it costs by size."""
        return [1.0, self.megapixels, self.work / self.megapixels, self.work]


@dataclass(frozen=True)
class Spread:
    seconds: float
    low: float
    high: float

    def times(self, count: int) -> Spread:
        return Spread(self.seconds * count, self.low * count, self.high * count)


@dataclass(frozen=True)
class Fit:
    """Costs of the terms, the factor of each kind, and how far times lie around what these say (in logarithm)."""

    costs: Vector
    factors: dict[str, float]
    deviation: float

    @staticmethod
    def of(timings: Sequence[tuple[Traits, float]]) -> Fit:
        """From at least one (traits, seconds), oldest first. Errors are weighed as shares, so that quick pictures count as much as slow ones."""
        terms = np.array([traits.terms() for traits, _ in timings])
        seconds = np.maximum([took for _, took in timings], 1e-4)
        weight = np.asarray(_MEMORY ** np.arange(len(timings))[::-1], np.float64)
        kinds = [traits.kind for traits, _ in timings]
        factors = dict.fromkeys(kinds, 1.0)
        costs = _proportional(terms, seconds)
        rest = np.zeros(len(timings))
        for _ in range(_TURNS):
            before = rest
            # In turns: what the terms cost when the kinds differ so, and how the kinds differ when the terms cost that.
            own = seconds / np.array([factors[kind] for kind in kinds])
            said = terms @ costs
            off = np.log(own / said)
            costs = _solve(terms, said * np.exp(off.clip(-_PULL, _PULL)), weight * _trust(off))
            error = np.log(seconds / (terms @ costs))
            factors = _factors(kinds, error, weight)
            rest = error - np.log([factors[kind] for kind in kinds])
            if np.abs(rest - before).max() < _SETTLED:
                break
        newest = _LEVEL_MEMORY ** np.arange(len(timings))[::-1] * _trust(rest)
        level = float((newest * rest).sum() / (newest.sum() + _KIND_PRIOR))
        variance = (float((weight * rest**2).sum()) + _UNSURE_COUNT * _UNSURE**2) / (float(weight.sum()) + _UNSURE_COUNT)
        return Fit(costs * float(np.exp(level)), factors, variance**0.5)

    def spread(self, traits: Traits) -> Spread:
        seconds = float(np.dot(traits.terms(), self.costs)) * self.factors.get(traits.kind, 1.0)
        wide = float(np.exp(_RANGE * self.deviation))
        return Spread(seconds, seconds / wide, seconds * wide)


def _proportional(terms: Vector, seconds: Vector) -> Vector:
    """Costs when all time goes into the work."""
    return np.array([0.0, 0.0, 0.0, float(np.median(seconds / np.maximum(terms[:, 3], 1e-9)))])


def _solve(terms: Vector, seconds: Vector, weight: Vector) -> Vector:
    """Least squares of the relative error with costs of at least 0, drawn towards the proportional ones."""
    start = _proportional(terms, seconds)
    # In units in which each term alone would explain the typical time.
    unit = np.median(seconds) / np.maximum(np.median(terms, axis=0), 1e-9)
    scaled = terms * unit / seconds[:, None]
    left = (scaled * weight[:, None]).T @ scaled + _PRIOR * np.eye(4)
    right = (scaled * weight[:, None]).sum(0) + _PRIOR * start / unit
    active = np.ones(4, bool)
    costs = np.zeros(4)
    while active.any():
        costs[:] = 0
        costs[active] = np.linalg.solve(left[np.ix_(active, active)], right[active])
        if (costs >= 0).all():
            break
        active &= costs > 0
    return costs * unit


def _factors(kinds: Sequence[str], error: Vector, weight: Vector) -> dict[str, float]:
    """By how much each kind takes longer than its terms say."""
    found: dict[str, float] = {}
    for kind in set(kinds):
        own = np.array([one == kind for one in kinds])
        middle = float(np.median(error[own]))
        sure = weight * _trust(error - middle) * own
        found[kind] = float(np.exp((sure * error).sum() / (sure.sum() + _KIND_PRIOR)))
    return found


def _trust(error: Vector) -> Vector:
    """Less weight for what lies far off (Huber 1964): one picture that the machine was too busy for does not bend the fit."""
    return 1 / np.maximum(1.0, np.abs(error) / 0.2)
