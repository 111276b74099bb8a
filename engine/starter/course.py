"""A training that can be stopped at any step and goes on as if it never had been: what the small members of the family share."""

from __future__ import annotations

import json
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.starter.checkpoints import check_checkpoint, write_checkpoint

# The loss of a step and what else is worth a line. All chance of a step comes from its number.
LossOf = Callable[[int], tuple[torch.Tensor, Mapping[str, float]]]


@dataclass(frozen=True)
class Course:
    """The training ends after `minutes`, all runs together, or after `steps` where that is given."""

    minutes: float = 0.0
    steps: int | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warm_up: int = 50
    cooldown: float = 0.5
    ema: float = 0.995
    seed: int = 1
    say_every: int = 50
    save_every_s: float = 60


def follow(course: Course, weights: Sequence[torch.nn.Parameter], loss_of: LossOf, target: Path) -> None:
    """Train `weights` (float32) in place and leave their running average in them. Goes on from `target`, keeps its state there.

    Every `say_every` steps one JSON line is printed and added to `target`'s .jsonl. Raises `DamagedFile` for a checkpoint
    that is cut short or altered.
    """
    # Not the fused one: in torch 2.15 it scrambles updates where memory formats differ.
    optimiser = torch.optim.AdamW(list(weights), lr=course.learning_rate, betas=(0.9, 0.98), weight_decay=course.weight_decay, foreach=True)
    average = [weight.detach().clone() for weight in weights]
    state = _resume(target, weights, average, optimiser)
    started, saved, before = time.monotonic(), time.monotonic(), state["minutes"]
    seen: deque[Mapping[str, float]] = deque(maxlen=course.say_every)
    with _stop_wish() as must_stop:
        while (share := _share(course, state)) < 1 and not must_stop():
            optimiser.param_groups[0]["lr"] = course.learning_rate * _rate(share, state["step"], course)
            loss, facts = loss_of(state["step"])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            state["step"] += 1
            _update(average, weights, min(course.ema, state["step"] / (10 + state["step"])))
            state["minutes"] = before + (time.monotonic() - started) / 60
            seen.append({"loss": loss.item(), **facts})
            if state["step"] % course.say_every == 0:
                _say(target, state, seen)
            if time.monotonic() - saved > course.save_every_s:
                _save(target, course, weights, average, optimiser, state)
                saved = time.monotonic()
    _save(target, course, weights, average, optimiser, state)
    with torch.no_grad():
        for weight, mean in zip(weights, average, strict=True):
            weight.copy_(mean)


def chance(seed: int, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """The two kinds of chance of a step, from its number alone."""
    rng = np.random.default_rng([seed, step])
    return rng, torch.Generator().manual_seed(int(rng.integers(2**62)))


def _share(course: Course, state: dict[str, Any]) -> float:
    return state["step"] / course.steps if course.steps is not None else state["minutes"] / course.minutes


def _rate(share: float, step: int, course: Course) -> float:
    """Warm up, hold, then fall in a straight line to nearly nothing."""
    return min(1.0, (step + 1) / course.warm_up) * min(1.0, (1 - share) / course.cooldown + 0.01)


@torch.no_grad()
def _update(average: list[torch.Tensor], weights: Sequence[torch.nn.Parameter], keep: float) -> None:
    for mean, weight in zip(average, weights, strict=True):
        mean.lerp_(weight, 1 - keep)


def _resume(target: Path, weights: Sequence[torch.nn.Parameter], average: list[torch.Tensor], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    check_checkpoint(target)
    if not target.exists():
        return {"step": 0, "minutes": 0.0}
    saved = torch.load(target, weights_only=True)
    with torch.no_grad():
        for weight, mean, one, kept in zip(weights, average, saved["weights"], saved["average"], strict=True):
            weight.copy_(one)
            mean.copy_(kept)
    optimiser.load_state_dict(saved["optimiser"])
    return {name: saved[name] for name in ("step", "minutes")}


def _save(target: Path, course: Course, weights: Sequence[torch.nn.Parameter], average: list[torch.Tensor], optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:  # fmt: skip
    own = [weight.detach() for weight in weights]
    content = {"weights": own, "average": average, "optimiser": optimiser.state_dict(), "course": asdict(course), **state}
    write_checkpoint(target, content)


def _say(target: Path, state: dict[str, Any], seen: deque[Mapping[str, float]]) -> None:
    means = {name: round(float(np.mean([one[name] for one in seen])), 4) for name in seen[-1]}
    line = {"step": state["step"], "minutes": round(state["minutes"], 2), **means}
    print(json.dumps(line), flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


@contextmanager
def _stop_wish() -> Generator[Callable[[], bool]]:
    """While inside, Ctrl+C and SIGTERM only make the answer True: the step that runs is finished and kept."""
    wishes: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _frame: wishes.append(number)) for number in numbers]
    try:
        yield lambda: bool(wishes)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
