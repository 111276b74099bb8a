"""Steps leave a worker as often as a page shows one; where two cores draw, each message takes a millisecond of them from the drawing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from engine.contract.work import HostMessage, Stepped

TOLD_EVERY_S = 0.125


def thinned(messages: Iterable[HostMessage], every_s: float = TOLD_EVERY_S, now: Callable[[], float] = time.monotonic) -> Iterator[HostMessage]:
    """All of `messages` but the steps that come within `every_s` seconds of one that was told; the first and the last of a walk always are."""
    due_s = float("-inf")
    for message in messages:
        if isinstance(message, Stepped):
            if now() < due_s and 1 < message.step < message.steps:
                continue
            due_s = now() + every_s
        yield message
