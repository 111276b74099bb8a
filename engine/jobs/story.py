"""What the journal has to say about a job, as the events that its watchers were told."""

from __future__ import annotations

from engine.contract.errors import EngineError, NotFound
from engine.contract.events import Cancelled, Ending, Failed, Finished, Paused
from engine.contract.results import Job
from engine.library.history import History


def ending_of(job: Job, history: History) -> Ending:
    """The ending of a job that is over. Raises `NotFound` for another."""
    pictures = tuple(history.of_job(job.id))
    match job.state:
        case "failed":
            return Failed(job.id, EngineError.from_plain(job.error or {}))
        case "cancelled":
            return Cancelled(job.id, job.steps_done, pictures)
        case "done":
            # What an earlier attempt left half done is a result too, but not of this ending.
            pictures = tuple(picture for picture in pictures if picture.index < job.recipe.count)
            return Finished(job.id, pictures, sum(picture.seconds for picture in pictures))
        case _:
            raise NotFound("This job is not over.", "Watch it until it is.")


def pause_of(job: Job, history: History) -> Paused:
    """Where a paused job stands: at the first picture that is neither drawn nor left out."""
    past = {picture.index for picture in history.of_job(job.id)} | set(job.skipped)
    return Paused(job.id, next((number for number in range(job.recipe.count) if number not in past), 0), job.steps_done)
