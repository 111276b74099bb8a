"""Words read while they are written: the sentence that Generate would say, and what only looks odd."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from engine import Engine, EngineError, Settings, parse_request
from tests.conftest import OWNER


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(Settings(data=tmp_path_factory.mktemp("data"), worker="inline", device="cpu")) as running:
        yield running


@pytest.mark.parametrize(
    "text", ["", "  ", "a red castle", "(a:1.2) [b|c] {d|e} __colour__", r"\( \) :-\)", "a <lora:ink:0.5>", "a < b", "[a:b:0.5]"]
)
def test_sound_words_are_left_alone(engine: Engine, text: str) -> None:
    assert engine.remarks(text) == ()


@pytest.mark.parametrize("control", ["prompt", "negative_prompt"])
@pytest.mark.parametrize(
    "text", ["a __nowhere__", "a __../secret__", "a (castle:1000)", "a" * 5_000, "a <lora:nothing:1>", "a <lora:ink:9>", "a <lora:../x:1>"]
)
def test_what_generate_refuses_is_said_in_its_own_sentence(engine: Engine, text: str, control: str) -> None:
    if "lora" in text and control == "negative_prompt":
        return
    with pytest.raises(EngineError) as caught:
        engine.submit(parse_request({"prompt": "x", control: text}), OWNER)
    first = engine.remarks(text, control)[0]
    assert first.is_refusal
    assert first.message == f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a (castle", "( has no partner: it counts"), ("a castle)", ") has no partner and is read"), ("([)]", "[ has no partner"), ("[a", "[ has no partner"),
        ("{a|b", "{ has no partner and is read"), ("a} b", "} has no partner"), ("a <nobody>", "no embedding named nobody"), ("a ((b)", "( has no partner"),
    ],
)  # fmt: skip
def test_what_reads_differently_from_how_it_looks_is_told(engine: Engine, text: str, said: str) -> None:
    (remark,) = engine.remarks(text)
    assert said in remark.message
    assert not remark.is_refusal


def test_a_tag_in_the_negative_prompt_does_nothing(engine: Engine) -> None:
    (remark,) = engine.remarks("blurry <lora:ink:1>", "negative_prompt")
    assert "in the prompt only" in remark.message


@pytest.mark.parametrize("text", ["(" * 100_000, ")" * 100_000, "<" * 100_000, "<a" * 50_000, "([{" * 1_300, "<a>" * 1_300, "\\" * 99_999])
def test_any_text_is_read_in_a_moment(engine: Engine, text: str) -> None:
    start = time.process_time()
    engine.remarks(text)
    assert time.process_time() - start < 1
