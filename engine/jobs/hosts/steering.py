"""Heeding what is wanted of a run: between two messages, where nothing is under way."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing

from engine.contract.work import Frozen, HostMessage, Partial, Stopped
from engine.jobs.wishes import Wishes


def steered(
    messages: Generator[HostMessage, None, None],
    wishes: Wishes,
    freeze: Callable[[], Frozen | None],
    keep: Callable[[], Partial | None] = lambda: None,
) -> Generator[HostMessage, None, None]:
    """Messages until the run is to stop or to be put aside; then `Stopped` or `Frozen`, and no further step.

    `freeze` gives what is being drawn to go on from; None after the last step, which is better followed by its picture.
    `keep` gives what there is of a picture that is stopped; None where nothing is drawn yet.
    """
    step = 0
    with closing(messages):
        for message in messages:
            step = getattr(message, "step", step)
            yield message
            if wishes.now == "keep" and (kept := keep()) is not None:
                yield kept
            if wishes.now in ("stop", "keep"):
                yield Stopped(step)
                return
            if wishes.now is not None and (frozen := freeze()) is not None:
                yield frozen
                return
