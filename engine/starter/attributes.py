"""What a scene may hold, what goes with what, and which pairs are kept from training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

SUBJECTS = (
    "castle", "tower", "lighthouse", "house", "windmill", "pyramid", "ship", "balloon",
    "rocket", "saucer", "robot", "car", "tree", "mushroom", "crystal", "bird",
)  # fmt: skip
PLACES = ("mountains", "sea", "desert", "forest", "city", "canyon", "hills", "swamp", "ice", "alien planet")
TIMES = ("dawn", "day", "sunset", "night")
WEATHERS = ("clear", "cloudy", "foggy")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
POSITIONS = ("left", "centre", "right")
STYLES = ("painting", "flat")
COUNTS = ("one", "two", "three")
DISTANCES = ("near", "far")

FLYING = frozenset({"balloon", "saucer", "bird"})
# Lit, clean grounds first; a ship needs water and a car needs land.
_ONLY_IN = {"ship": frozenset({"sea", "swamp", "ice"})}
_NEVER_IN = {"car": frozenset({"sea", "swamp"}), "tree": frozenset({"sea"}), "windmill": frozenset({"sea"})}

# Never drawn for training: the evaluation asks for them and sees whether words combine.
HELD_OUT_COLOURS = frozenset(
    {("castle", "green"), ("house", "purple"), ("rocket", "yellow"), ("car", "pink"), ("tree", "blue"), ("balloon", "orange"),
     ("robot", "white"), ("mushroom", "purple")}
)  # fmt: skip
HELD_OUT_PLACES = frozenset(
    {("castle", "desert"), ("robot", "forest"), ("rocket", "ice"), ("pyramid", "hills"), ("saucer", "canyon"), ("lighthouse", "city"),
     ("balloon", "sea"), ("crystal", "swamp")}
)  # fmt: skip


@dataclass(frozen=True)
class SceneLabels:
    """Everything that a caption may say about a scene."""

    subject: str
    place: str
    time: str
    colour: str
    position: str = "centre"
    weather: str = "clear"
    style: str = "painting"
    count: str = "one"
    distance: str = "near"

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


def is_sensible(subject: str, place: str) -> bool:
    """Whether this subject is drawn in this place at all."""
    return place in _ONLY_IN.get(subject, frozenset(PLACES)) and place not in _NEVER_IN.get(subject, frozenset())


def is_held_out(labels: SceneLabels) -> bool:
    return (labels.subject, labels.colour) in HELD_OUT_COLOURS or (labels.subject, labels.place) in HELD_OUT_PLACES


def random_labels(rng: np.random.Generator, *, held_out: bool | None = False, is_wide: bool = False) -> SceneLabels:
    """Labels drawn evenly. `held_out` False leaves the kept-back pairs out, True draws only those, None does not care.

    Narrow scenes hold one near subject; wide ones also two or three, and far ones.
    """
    while True:
        labels = SceneLabels(
            subject=_pick(rng, SUBJECTS),
            place=_pick(rng, PLACES),
            time=_pick(rng, TIMES),
            colour=_pick(rng, COLOURS),
            position=_pick(rng, POSITIONS),
            weather=str(rng.choice(WEATHERS, p=(0.5, 0.35, 0.15))),
            style=_pick(rng, STYLES),
        )
        if is_wide:
            labels = _widened(labels, rng)
        if is_sensible(labels.subject, labels.place) and held_out in (None, is_held_out(labels)):
            return labels


def _widened(labels: SceneLabels, rng: np.random.Generator) -> SceneLabels:
    # A far group would be a few pixels each: only single subjects go far.
    count = str(rng.choice(COUNTS, p=(0.6, 0.2, 0.2)))
    is_far = count == "one" and rng.random() < 0.3
    # Three fill the frame from side to side: they stand in the middle.
    position = "centre" if count == "three" else labels.position
    return replace(labels, count=count, distance="far" if is_far else "near", position=position)


def _pick(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    return values[int(rng.integers(len(values)))]
