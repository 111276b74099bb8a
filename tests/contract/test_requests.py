"""Bad input is refused in words that name the control, quickly, before anything is queued."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from engine import CONTROL_NAMES, InvalidRequest, TextToImage, parse_request

BAD: list[tuple[str, Any]] = [
    ("prompt", ""), ("prompt", "   \n\t"), ("prompt", "x" * 100_000), ("prompt", None), ("prompt", 5),
    ("negative_prompt", "x" * 100_000), ("negative_prompt", ["a"]),
    ("steps", 0), ("steps", -1), ("steps", 10**9), ("steps", math.nan), ("steps", math.inf), ("steps", 2.5), ("steps", "many"), ("steps", True),
    ("guidance_scale", math.nan), ("guidance_scale", math.inf), ("guidance_scale", -1), ("guidance_scale", 1e9), ("guidance_scale", "strong"),
    ("width", 250), ("width", 100_000), ("width", 0), ("height", 257), ("height", -8), ("height", "tall"),
    ("scheduler", "magic"), ("scheduler", ""), ("scheduler", 7), ("seed", -1), ("seed", 2**32), ("seed", 10**30), ("seed", "abc"),
    ("count", 0), ("count", 17), ("count", math.nan), ("model", "../../etc/passwd"), ("model", "a b"), ("model", "x" * 65),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD)
@pytest.mark.timed
def test_a_bad_value_is_refused_by_the_name_of_its_control(field: str, value: Any) -> None:
    start = time.perf_counter()
    with pytest.raises(InvalidRequest) as caught:
        parse_request({"prompt": "a castle", field: value})
    assert time.perf_counter() - start < 0.010
    assert caught.value.field == field
    assert CONTROL_NAMES[field].lower() in caught.value.message.lower()
    assert caught.value.hint
    assert len(str(caught.value)) < 250


def test_an_unknown_control_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no control named 'stepz'"):
        parse_request({"prompt": "a castle", "stepz": 3})


@pytest.mark.parametrize(
    "prompt",
    ["🏰🌅", "замок на закате", "قلعة حمراء", "日落时的红色城堡", "a\x00b", "ё" * 4000, "'; DROP TABLE jobs;--", "<script>alert(1)</script>"],
)
def test_any_script_is_a_prompt(prompt: str) -> None:
    assert parse_request({"prompt": prompt}).prompt == prompt


@pytest.mark.parametrize(("name", "key"), [("DPM++ 2M", "dpmpp_2m"), ("euler A", "euler_a"), ("ddim", "ddim"), (" UniPC ", "unipc")])
def test_samplers_go_by_key_and_by_label(name: str, key: str) -> None:
    assert parse_request({"prompt": "x", "scheduler": name}).scheduler == key


def test_numbers_may_come_as_floats_and_as_words() -> None:
    request = parse_request({"prompt": "x", "steps": 20.0, "width": "256", "seed": 0})
    assert (request.steps, request.width, request.seed) == (20, 256, 0)


def test_not_chosen_stays_not_chosen() -> None:
    request = TextToImage(prompt="x")
    assert request.seed is None
    assert request.steps is None
