"""Heeding what is wanted of a run: between two messages, where nothing is under way."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING

from engine.contract.work import HostMessage, Stopped, Work
from engine.jobs.wishes import Wishes

if TYPE_CHECKING:
    from engine.diffusion.painter import Painter


def steered(painter: Painter, work: Work, wishes: Wishes) -> Generator[HostMessage, None, None]:
    """What the painter says, until the run is to stop or to be put aside; then `Stopped` or `Frozen`, and no further step."""
    step = 0
    with closing(painter.paint(work, lambda: wishes.skipped)) as messages:
        for message in messages:
            step = getattr(message, "step", step)
            yield message
            if wishes.now == "stop":
                yield Stopped(step)
                return
            # After the last step there is nothing worth keeping: the picture is finished first.
            if wishes.now is not None and (frozen := painter.freeze()) is not None:
                yield frozen
                return
