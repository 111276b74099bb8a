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
# The same where a picture takes 0.6 s and a step 28 ms, as they did where those bars were set: processor time grows and shrinks with the machine.
_PICTURE_SHARE, _STEP_SHARE = 0.1, 0.07
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
    raw = {f"{name}, {steps} steps": seconds for (name, steps), seconds in times.items()}
    # The first round warms up.
    raw |= {"client": beside["client"], "engine beside it": beside["engine"], "framework beyond its pace": waits[1:], "page busy": busy}
    return overhead_table(raw), raw


def overhead_table(raw: dict[str, list[float]]) -> list[Row]:
    """What the seconds of `_overhead_rows` say."""
    alone = {steps: raw[f"engine, {steps} steps"] for steps in (_LONG, _SHORT)}
    more = {steps: [a - b for a, b in zip(raw[f"page, {steps} steps"], alone[steps], strict=True)] for steps in (_LONG, _SHORT)}
    long_ms, short_ms = (statistics.median(more[steps]) * 1000 for steps in (_LONG, _SHORT))
    step_ms = (long_ms - short_ms) / (_LONG - _SHORT)
    long_s, short_s = (statistics.median(alone[steps]) for steps in (_LONG, _SHORT))
    share, step_share = long_ms / 1000 / long_s, step_ms / 1000 * (_LONG - _SHORT) / (long_s - short_s)
    client_ms = statistics.median(a - b for a, b in zip(raw["client"], raw["engine beside it"], strict=True)) * 1000
    whole = statistics.median(raw[f"page, {_LONG} steps"])
    unsure_long, unsure_short = (_unsure_ms(more[steps]) for steps in (_LONG, _SHORT))
    adds, said = f"the page's API adds to a picture of {_LONG} steps", f"{long_ms:.0f} ± {unsure_long:.0f} ms ({whole:.2f} s)"
    said_share = f"{share:.1%} ± {unsure_long / 1000 / long_s:.1%}"
    return [
        Row(adds, said, f"≤ {_PICTURE_MS} ms", long_ms <= _PICTURE_MS),
        Row("as a share of drawing it", said_share, f"≤ {_PICTURE_SHARE:.0%}", share <= _PICTURE_SHARE),
        Row(f"to one of {_SHORT} steps", f"{short_ms:.0f} ± {unsure_short:.0f} ms", f"≤ {_PICTURE_MS} ms", short_ms <= _PICTURE_MS),
        Row("to each step", f"{step_ms:.1f} ms", f"≤ {_STEP_MS} ms", step_ms <= _STEP_MS),
        Row("as a share of a step", f"{step_share:.1%}", f"≤ {_STEP_SHARE:.0%}", step_share <= _STEP_SHARE),
        Row(
            "of that the framework, whose bare endpoint takes as long",
            f"{statistics.median(raw['framework beyond its pace']) * 1000:.0f} ms",
            "",
            None,
        ),
        Row("the framework's own client, which looks for news every 50 ms, adds with all that", f"{client_ms:.0f} ms", "", None),
        Row("the page's process is busy for, at a picture", f"{statistics.mean(raw['page busy']) * 1000:.0f} ms of a core", "", None),
    ]


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
