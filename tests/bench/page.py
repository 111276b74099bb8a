"""Rows about the studio that is really running: what its page's API adds to a picture, visitors side by side, from nothing to a picture, Stop."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import torch
from gradio_client import Client

from engine import Cancelled, Engine, Progress, Settings, TextToImage
from tests.apart import running_app
from tests.bench.cores import lost_s, spent
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

    What that adds is told twice: by the clock, and by how much longer the threads that draw are not drawing.

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
    times: dict[str, list[float]] = {}
    noted: dict[str, list[float]] = defaultdict(list)

    def asked(steps: int, number: int) -> dict[str, Any]:
        values = {"prompt": "a red castle at sunset", "negative_prompt": "blurry", "steps": steps, "seed": number, "scheduler": "dpmpp_2m"}
        return {**values, "guidance_scale": 4.0, "width": 256, "height": 256}

    def without_a_picture(_: int) -> None:
        begin = time.perf_counter()
        last = last_message(bare, "pace", [_LONG, _PACE_S])
        noted["framework beyond its pace"].append(time.perf_counter() - begin - last["seconds"])

    def through_the_page(steps: int, number: int) -> None:
        values = asked(steps, number)
        last = last_message(http, "txt2img", [values.get(name) for name in NAMES])
        assert last["state"] == "done", last

    def through_its_client(number: int) -> None:
        last = client.predict(**asked(_LONG, number), api_name="/txt2img")
        assert last["state"] == "done", last

    through_the_page(_SHORT, 0)
    draws = max(studio.pids(), key=cpu_s)

    def watched(name: str, pid: int, draw: Callable[[int], object]) -> Callable[[int], None]:
        def drawn(number: int) -> None:
            then, page_s, begin = spent(pid), cpu_s(studio.process.pid), time.perf_counter()
            draw(number)
            noted[f"{name}, not drawing"].append(lost_s(pid, then, time.perf_counter() - begin))
            noted[f"{name}, page busy"].append(cpu_s(studio.process.pid) - page_s)

        return drawn

    # A few tens of milliseconds beside a picture that swings by more, on a machine whose speed drifts: many rounds, two by two.
    for steps in (_LONG, _SHORT):
        page, engine = f"page, {steps} steps", f"engine, {steps} steps"
        pair = {
            page: watched(page, draws, partial(through_the_page, steps)),
            engine: watched(engine, os.getpid(), lambda number, steps=steps: run(recipe(steps, number))),
        }
        times |= race(pair, _MORE_ROUNDS * rounds)
    times |= race({"client": through_its_client, "engine beside it": lambda number: run(recipe(_LONG, number))}, 2 * rounds)
    race({"framework": without_a_picture}, rounds)
    # The first round warms up.
    raw = times | {name: values[1:] for name, values in noted.items()}
    return overhead_table(raw), raw


def overhead_table(raw: dict[str, list[float]]) -> list[Row]:
    """What the seconds of `_overhead_rows` say."""
    by_clock, by_cores = (_More.of(raw, ending) for ending in ("", ", not drawing"))
    slower = [a - b for a, b in zip(raw["client"], raw["engine beside it"], strict=True)]
    whole_s = statistics.median(raw[f"page, {_LONG} steps"])
    return [
        *by_clock.rows("the page's API adds", f" ({whole_s:.2f} s)"),
        *by_cores.rows("the threads that draw are not drawing for longer by"),
        Row(
            "of that the framework, whose bare endpoint takes as long",
            f"{statistics.median(raw['framework beyond its pace']) * 1000:.0f} ms",
            "",
            None,
        ),
        Row(
            "the framework's own client, which looks for news every 50 ms, adds with all that",
            f"{statistics.median(slower) * 1000:.0f} ± {_unsure_ms(slower):.0f} ms",
            "",
            None,
        ),
        Row(
            "the page's process is busy for, at a picture",
            f"{statistics.mean(raw[f'page, {_LONG} steps, page busy']) * 1000:.0f} ms of a core",
            "",
            None,
        ),
    ]


@dataclass(frozen=True)
class _More:
    """By how much the page's figures lie above the engine's beside them, in milliseconds, each with how far it may lie off."""

    long: tuple[float, float]
    short: tuple[float, float]

    @staticmethod
    def of(raw: dict[str, list[float]], ending: str) -> _More:
        pairs = (
            [a - b for a, b in zip(*(raw[f"{who}, {steps} steps{ending}"] for who in ("page", "engine")), strict=True)] for steps in (_LONG, _SHORT)
        )
        return _More(*((statistics.median(more) * 1000, _unsure_ms(more)) for more in pairs))

    def rows(self, what: str, beside: str = "") -> list[Row]:
        (long, unsure_long), (short, unsure_short) = self.long, self.short
        step, unsure_step = (long - short) / (_LONG - _SHORT), (unsure_long**2 + unsure_short**2) ** 0.5 / (_LONG - _SHORT)
        return [
            Row(f"{what}, {_LONG} steps", f"{long:.0f} ± {unsure_long:.0f} ms{beside}", f"≤ {_PICTURE_MS} ms", long <= _PICTURE_MS),
            Row(f"{what}, {_SHORT} steps", f"{short:.0f} ± {unsure_short:.0f} ms", f"≤ {_PICTURE_MS} ms", short <= _PICTURE_MS),
            Row(f"{what}, each step", f"{step:.1f} ± {unsure_step:.1f} ms", f"≤ {_STEP_MS} ms", step <= _STEP_MS),
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
