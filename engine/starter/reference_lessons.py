"""What the starter's IP-Adapter is taught: a picture says whatever the words leave out, and the words win where both speak."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.starter.attributes import SceneLabels, is_sensible
from engine.starter.captions import caption_and_said
from engine.starter.evaluate import full_caption

# How much the words say, evenly drawn: next to nothing, some of it, most of it.
_TALK = (0.0, 0.0, 0.3, 0.8)


@dataclass(frozen=True)
class Lesson:
    """The pupil sees scene `picture` and hears `words`; the teacher is told `goal`, in words. Both look at scene `ground` under noise.

    `is_true` where the ground is what the goal says: then it may also be learnt from itself.
    """

    picture: int
    words: str
    goal: str
    ground: int
    is_true: bool


@dataclass(frozen=True)
class Mix:
    """Shares of the lessons: no words at all, words for another scene; the rest is words for the same one."""

    silent: float = 0.45
    other: float = 0.3


def make_lesson(labels: list[SceneLabels], rows: NDArray[np.int64], mix: Mix, rng: np.random.Generator) -> Lesson:
    """A lesson on one of `rows`."""
    row, kind = int(rng.choice(rows)), rng.random()
    if kind < mix.silent:
        return Lesson(row, "", full_caption(labels[row]), row, is_true=True)
    talk = float(rng.choice(_TALK))
    if kind < mix.silent + mix.other:
        other, words, both = _other_words(labels, rows, row, talk, rng)
        # The walk out of the noise begins with neither and comes by both: what the words ask for, what the picture shows.
        return Lesson(row, words, full_caption(both), other if rng.random() < 0.5 else row, is_true=False)
    words, _ = caption_and_said(labels[row], rng, talk=talk)
    return Lesson(row, words, full_caption(labels[row]), row, is_true=True)


def _other_words(labels: list[SceneLabels], rows: NDArray[np.int64], row: int, talk: float, rng: np.random.Generator) -> tuple[int, str, SceneLabels]:
    """Another scene, words for it, and the scene that words and picture make together: one that could be drawn."""
    while True:
        other = int(rng.choice(rows))
        words, said = caption_and_said(labels[other], rng, talk=talk)
        # "a castle" says one castle.
        both = replace(labels[row], **{name: getattr(labels[other], name) for name in (*said, "count")})
        if is_sensible(both.subject, both.place):
            return other, words, both
