"""Rows about the studio that is really running: what its page's API adds to a picture, visitors side by side, from nothing to a picture, Stop."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import torch
from gradio_client import Client

from engine import Cancelled, Engine, Progress, Settings, TextToImage
from tests.apart import running_app
from tests.bench.limits import product_rates
from tests.bench.row import Row
from tests.bench.runs import ours, race, ready_painter, recipe
from tests.conftest import OWNER
from tests.studio import Studio, cpu_s
from tests.visitors import NAMES, Visitor, at_once

_LONG, _SHORT, _STEPS = 20, 4, 8
_PICTURE_MS, _STEP_MS = 60, 2
# About a step of the starter.
_PACE_S = 0.03
_MORE_ROUNDS = 6


def page_rows(rounds: int) -> tuple[list[Row], dict[str, Any]]:
    product = product_rates(torch.bfloat16, torch.device("cpu"), rounds)
    speed = Row("this machine: a product of 2048 × 2048 matrices, bfloat16", f"{statistics.median(product) / 1e12:.2f} Tflop/s", "", None)
    with tempfile.TemporaryDirectory() as folder, Studio(Path(folder) / "data") as studio:
        studio.wait_ready()
        over, raw = overhead_rows(studio, rounds)
        side, visitors = visitor_rows(studio)
    starts, cold = start_rows()
    stop, stops = stop_row(rounds)
    return [speed, *over, *side, *starts, stop], {"product": product, "page": raw, "visitors": visitors, "starts": cold, "stops": stops}


def overhead_rows(studio: Studio, rounds: int) -> tuple[list[Row], dict[str, Any]]:
    """Programs draw through the endpoint, and the engine draws the same in this process, in turn. All with previews.

    One program reads its stream as it comes, as a browser does; the other is the framework's own client, which looks for news
    every 50 ms. Beside them the first asks the bare framework for as many messages at the same pace.
    """
    with (
        running_app("tests.bench.paced") as bare,
        httpx.Client(base_url=studio.url, timeout=60) as http,
        httpx.Client(base_url=bare, timeout=60) as slow,
    ):
        # Without what it does for TLS at each call: over plain HTTP there is nothing to verify, and 30 ms of the cores that draw go into being ready to.
        client = Client(studio.url, verbose=False, ssl_verify=False)
        try:
            return _overhead_rows(studio, http, slow, client, rounds)
        finally:
            client.close()


def last_message(http: httpx.Client, endpoint: str, values: list[Any]) -> dict[str, Any]:
    """Ask an endpoint and follow its stream to the end, over HTTP alone. Raises `RuntimeError` with what was said where it failed."""
    # One session for all, as a page and the framework's client have it: a new one costs the server milliseconds.
    stream = http.post(f"/gradio_api/call/{endpoint}", json={"data": values, "session_hash": "bench"}).raise_for_status().json()["event_id"]
    kind, last = "", {}
    with http.stream("GET", f"/gradio_api/call/{endpoint}/{stream}") as answer:
        for line in answer.raise_for_status().iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif kind == "error":
                raise RuntimeError(line)
            elif kind == "generating" and line.startswith("data: "):
                last = json.loads(line.removeprefix("data: "))[0]
    return last


def _overhead_rows(studio: Studio, http: httpx.Client, bare: httpx.Client, client: Client, rounds: int) -> tuple[list[Row], dict[str, Any]]:
    run = ours(ready_painter())
    waits: list[float] = []
    busy: list[float] = []

    def asked(steps: int, number: int) -> dict[str, Any]:
        values = {"prompt": "a red castle at sunset", "negative_prompt": "blurry", "steps": steps, "seed": number, "scheduler": "dpmpp_2m"}
        return {**values, "guidance_scale": 4.0, "width": 256, "height": 256}

    def without_a_picture(_: int) -> None:
        begin = time.perf_counter()
        last = last_message(bare, "pace", [_LONG, _PACE_S])
        waits.append(time.perf_counter() - begin - last["seconds"])

    def through_the_page(steps: int) -> Callable[[int], None]:
        def draw(number: int) -> None:
            begin, values = cpu_s(studio.process.pid), asked(steps, number)
            last = last_message(http, "txt2img", [values.get(name) for name in NAMES])
            if steps == _LONG:
                busy.append(cpu_s(studio.process.pid) - begin)
            assert last["state"] == "done", last

        return draw

    def through_its_client(number: int) -> None:
        last = client.predict(**asked(_LONG, number), api_name="/txt2img")
        assert last["state"] == "done", last

    # A few tens of milliseconds beside a picture that swings by more, on a machine whose speed drifts: many rounds, two by two.
    times: dict[tuple[str, int], list[float]] = {}
    for steps in (_LONG, _SHORT):
        alone: Callable[[int], object] = lambda number, steps=steps: run(recipe(steps, number))  # noqa: E731
        times |= race({("page", steps): through_the_page(steps), ("engine", steps): alone}, _MORE_ROUNDS * rounds)
    beside = race({"client": through_its_client, "engine": lambda number: run(recipe(_LONG, number))}, 2 * rounds)
    race({"framework": without_a_picture}, rounds)
    more = {steps: [a - b for a, b in zip(times["page", steps], times["engine", steps], strict=True)] for steps in (_LONG, _SHORT)}
    long_ms, short_ms = (statistics.median(more[steps]) * 1000 for steps in (_LONG, _SHORT))
    step_ms = (long_ms - short_ms) / (_LONG - _SHORT)
    client_ms = statistics.median(a - b for a, b in zip(beside["client"], beside["engine"], strict=True)) * 1000
    whole = statistics.median(times["page", _LONG])
    # The first round warms up.
    framework_ms = statistics.median(waits[1:]) * 1000
    return [
        Row(
            f"the page's API adds to a picture of {_LONG} steps",
            f"{long_ms:.0f} ± {_unsure_ms(more[_LONG]):.0f} ms ({whole:.2f} s)",
            f"≤ {_PICTURE_MS} ms",
            long_ms <= _PICTURE_MS,
        ),
        Row(
            f"the same to one of {_SHORT} steps",
            f"{short_ms:.0f} ± {_unsure_ms(more[_SHORT]):.0f} ms",
            f"≤ {_PICTURE_MS} ms",
            short_ms <= _PICTURE_MS,
        ),
        Row("of that to each step", f"{step_ms:.1f} ms", f"≤ {_STEP_MS} ms", step_ms <= _STEP_MS),
        Row("of that the framework, whose bare endpoint takes as long", f"{framework_ms:.0f} ms", "", None),
        Row("the framework's own client, which looks for news every 50 ms, adds with all that", f"{client_ms:.0f} ms", "", None),
        Row("the page's process is busy for, at a picture", f"{statistics.mean(busy) * 1000:.0f} ms of a core", "", None),
    ], {
        **{f"{name}, {steps} steps": seconds for (name, steps), seconds in times.items()},
        "client": beside,
        "framework beyond its pace": waits[1:],
        "page busy": busy,
    }


def _unsure_ms(seconds: list[float]) -> float:
    """How far their median would lie off in two of three such runs, from their middle half: few that were disturbed do not count."""
    low, _, high = statistics.quantiles(seconds, n=4)
    return 1.25 * (high - low) / 1.35 / len(seconds) ** 0.5 * 1000


def visitor_rows(studio: Studio) -> tuple[list[Row], dict[str, Any]]:
    """Pictures a second of one visitor and of eight side by side; nobody may pay for the company but by waiting."""

    async def three(visitor: Visitor) -> None:
        for number in range(3):
            await visitor.draw("a red castle at sunset", steps=_STEPS, seed=number)

    seconds = {}
    for visitors in (1, 8):
        start = time.perf_counter()
        asyncio.run(at_once(studio.url, visitors, three))
        seconds[visitors] = time.perf_counter() - start
    alone, together = (3 * visitors / took for visitors, took in seconds.items())
    figure = f"{together:.2f} pictures a second, {alone:.2f} of one visitor ({together / alone:.2f} ×)"
    return [Row(f"8 visitors at once, {_STEPS} steps", figure, "≥ 0.9 ×", together / alone >= 0.9)], {
        str(key): value for key, value in seconds.items()
    }


def start_rows() -> tuple[list[Row], dict[str, list[float]]]:
    """Three cold starts: until the page answers, and until the first picture is there."""
    pages: list[float] = []
    pictures: list[float] = []
    for _ in range(3):
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, Studio(Path(folder) / "data") as studio:
            pages.append(studio.started_s)
            asyncio.run(at_once(studio.url, 1, lambda visitor: visitor.draw("a red castle at sunset", seed=1)))
            pictures.append(time.perf_counter() - begin)
    page, picture = statistics.median(pages), statistics.median(pictures)
    return [
        Row("page answers after start", f"{page:.1f} s", "< 3 s", page < 3),
        Row("cold start to the first picture, 20 steps", f"{picture:.1f} s", "", None),
    ], {"page": pages, "picture": pictures}


def stop_row(rounds: int) -> tuple[Row, list[tuple[float, float]]]:
    """From Stop to the end of the job, in the middle of one; a step of the same job beside it."""
    pairs: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder, Engine(Settings(data=Path(folder), worker="process")) as engine:
        for seed in range(rounds):
            request = TextToImage.model_validate({"prompt": "a red castle", "steps": 60, "seed": seed})
            marks: list[tuple[int, float]] = []
            asked = ended = 0.0
            job = engine.submit(request, OWNER)
            with engine.watch(job.id, owner=OWNER) as watch:
                for event in watch:
                    match event:
                        case Progress(step=step):
                            marks.append((step, time.perf_counter()))
                            if step >= 10 and not asked:
                                asked = time.perf_counter()
                                engine.cancel(job.id, owner=OWNER)
                        case Cancelled():
                            ended = time.perf_counter()
                        case _:
                            pass
            pairs.append((ended - asked, statistics.median((b - a) / (after - before) for (before, a), (after, b) in itertools.pairwise(marks))))
    stop, step = (statistics.median(values) * 1000 for values in zip(*pairs, strict=True))
    return Row("Stop, until the job has ended", f"{stop:.0f} ms (a step is {step:.0f} ms)", "≤ a step + 50 ms", stop <= step + 50), pairs
