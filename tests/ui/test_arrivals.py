"""The queue that is woken: requests begin as they arrive, in as many places as there are, and end when their visitor goes."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator

import gradio as gr
import pytest
from gradio_client import Client

from tests.apart import running_app, serve
from tests.faults.figures import Figures
from ui.arrivals import ArrivalQueue

_PLACES, _ROUNDS = 3, 8


class Counted:
    """How many are inside at a time, and how many were thrown out."""

    def __init__(self) -> None:
        self.inside = self.most = self.thrown_out = 0

    async def stay(self, seconds: float) -> AsyncIterator[str]:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            yield "in"
            await asyncio.sleep(seconds)
            yield "out"
        except (asyncio.CancelledError, GeneratorExit):
            self.thrown_out += 1
            raise
        finally:
            self.inside -= 1

    def figures(self) -> dict[str, int]:
        given, self.most = {"inside": self.inside, "most": self.most, "thrown out": self.thrown_out}, 0
        return given


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with running_app("tests.ui.test_arrivals") as url:
        client = Client(url, verbose=False)
        yield client
        client.close()


def test_a_request_begins_when_it_arrives(client: Client, figure: Figures) -> None:
    """Not half a second later, when the queue would look by itself. The client looks for its answer every 50 ms."""
    client.predict(0.0, api_name="/stay")
    times: list[float] = []
    for _ in range(7):
        begin = time.perf_counter()
        assert client.predict(0.0, api_name="/stay") == "out"
        times.append(time.perf_counter() - begin)
    figure("s from a request to its answer", statistics.median(times), at_most=0.3)


@pytest.mark.parametrize(("endpoint", "places"), [("/stay", _PLACES), ("/alone", 1)])
def test_more_requests_than_places_wait_and_are_begun_as_one_ends(client: Client, figure: Figures, endpoint: str, places: int) -> None:
    begin = time.perf_counter()
    jobs = [client.submit(0.05, api_name=endpoint) for _ in range(places * _ROUNDS)]
    assert [job.result(timeout=20) for job in jobs] == ["out"] * len(jobs)
    # A queue that only looked twice a second would need half a second a round.
    figure(f"s a round of {places}", (time.perf_counter() - begin) / _ROUNDS, at_most=0.35)
    figures = client.predict(api_name="/figures")
    assert (figures["most"], figures["inside"]) == (places, 0)


def test_who_cancels_is_thrown_out_and_the_place_is_free(client: Client) -> None:
    jobs = [client.submit(60.0, api_name="/stay") for _ in range(_PLACES)]
    for job in jobs:
        while not job.outputs():
            time.sleep(0.01)
        job.cancel()
    assert client.submit(0.0, api_name="/stay").result(timeout=10) == "out"
    assert client.predict(api_name="/figures")["thrown out"] == _PLACES


def main() -> None:
    counted = Counted()
    with gr.Blocks(analytics_enabled=False) as app:
        gr.api(counted.stay, api_name="stay", concurrency_limit=None)
        gr.api(counted.stay, api_name="alone", concurrency_limit=1)
        gr.api(counted.figures, api_name="figures", concurrency_limit=None)
    app._queue = ArrivalQueue(app, at_once=_PLACES)  # pyright: ignore[reportPrivateUsage]
    serve(app, at_once=_PLACES)


if __name__ == "__main__":
    main()
