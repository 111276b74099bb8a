"""For whoever runs a studio: health, readiness, metrics, logs without prompts, a graceful end."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from pathlib import Path

from gradio_client import Client

from tests.studio import Studio

PROMPT = "vermilion zeppelin above quixotic archipelago"


def get(studio: Studio, path: str, **headers: str) -> tuple[int, str]:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(studio.url + path, headers=named), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def value(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found, f"{name} is not in\n{text}"
    return float(found[1])


def test_a_run_is_counted_and_its_log_holds_no_word_of_it(tmp_path: Path) -> None:
    with Studio(tmp_path) as studio:
        assert get(studio, "/readyz")[0] in (200, 503)
        studio.wait_ready()
        assert get(studio, "/readyz")[0] == 200
        before = get(studio, "/metrics")[1]
        messages = list(
            Client(studio.url, verbose=False).submit(PROMPT, negative_prompt="wistful", steps=3, width=64, height=64, api_name="/txt2img")
        )
        job = messages[-1]["pictures"][0]
        after = get(studio, "/metrics")[1]
        assert value(after, 'easel_jobs_ended_total{ending="done"}') == value(before, 'easel_jobs_ended_total{ending="done"}') + 1
        assert value(after, "easel_pictures_total") == 1
        assert value(after, "easel_drawing_seconds_total") > 0
        assert value(after, 'easel_jobs_open{state="queued"}') == 0
        assert value(after, 'easel_worker{state="ready"}') == 1
        assert PROMPT.split()[0] not in after
        begin = time.monotonic()
        assert studio.stop() == 0
        print(f"an idle studio ends after {time.monotonic() - begin:.1f} s")
        log = "".join(studio.log)
        for word in (*PROMPT.split(), "wistful"):
            assert word not in log
        lines = [line for line in studio.log if "room=easel" in line]
        assert [re.search(r"said=(\w+)", line)[1] for line in lines] == ["accepted", "ended"], log  # type: ignore[index]
        assert all(re.fullmatch(r"time=\S+ level=info room=easel\.\w+ job=[0-9a-f]{32} .*\n", line) for line in lines), lines
        assert job["seed"] is not None


def test_metrics_are_for_this_machine_only(studio: Studio) -> None:
    assert get(studio, "/metrics")[0] == 200
    for header in ("X_Forwarded_For", "Forwarded", "X_Real_IP"):
        status, text = get(studio, "/metrics", **{header: "127.0.0.1"})
        assert status == 403
        assert "--metrics-public" in text
