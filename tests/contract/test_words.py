"""The prompt grammar as tables: what each form means, and that nothing a person can type takes long or raises."""

from __future__ import annotations

import time

import pytest

from engine import InvalidRequest, TextToImage
from engine.contract.chunks import lay_out
from engine.contract.recipe import resolve
from engine.contract.words import check_words, parse_timeline, parse_weights, words_at
from tests.contract.test_recipe import CARD

B = None
WEIGHTS: list[tuple[str, list[tuple[str, float] | None]]] = [
    ("", []),
    ("plain words, as ever", [("plain words, as ever", 1)]),
    ("a (b) c", [("a ", 1), ("b", 1.1), (" c", 1)]),
    ("a ((b)) c", [("a ", 1), ("b", 1.21), (" c", 1)]),
    ("a [b] c", [("a ", 1), ("b", 1 / 1.1), (" c", 1)]),
    ("a [[b]]", [("a ", 1), ("b", 1 / 1.21)]),
    ("a (b:1.5) c", [("a ", 1), ("b", 1.5), (" c", 1)]),
    ("(b:.5)(c:2.)", [("b", 0.5), ("c", 2)]),
    ("(b: 1.5 )", [("b", 1.5)]),
    ("(b:-1)", [("b", -1)]),
    ("(b:+1.2)", [("b", 1.2)]),
    ("(b:0)", [("b", 0)]),
    ("(b:1)", [("b", 1)]),
    ("a (b:1.0) c", [("a b c", 1)]),
    ("((b:1.2) c)", [("b", 1.32), (" c", 1.1)]),
    ("([b])", [("b", 1)]),
    ("(a)(b)", [("ab", 1.1)]),
    ("((a:1.3)) [b] (((c)))", [("a", 1.43), (" ", 1), ("b", 1 / 1.1), (" ", 1), ("c", 1.331)]),
    # Escapes.
    (r"\(a\)", [("(a)", 1)]),
    (r"\[a\]", [("[a]", 1)]),
    (r"(a \(b\):1.2)", [("a (b)", 1.2)]),
    (r"a\\(b)", [("a\\", 1), ("b", 1.1)]),
    (r"a\b", [("a\\b", 1)]),
    ("a\\", [("a\\", 1)]),
    (r"\{a\_b\}", [("{a_b}", 1)]),
    # Brackets without a partner.
    ("(a b", [("a b", 1.1)]),
    ("a (b", [("a ", 1), ("b", 1.1)]),
    ("((a", [("a", 1.21)]),
    ("[a", [("a", 1 / 1.1)]),
    ("a) b", [("a) b", 1)]),
    ("a] b", [("a] b", 1)]),
    ("(a]", [("a]", 1.1)]),
    ("[a)", [("a)", 1 / 1.1)]),
    ("(a [b) c]", [("a ", 1.1), ("b", 1), (" c", 1 / 1.1)]),
    (")(", [(")", 1)]),
    ("()", []),
    ("a:1.2) b", [("a:1.2) b", 1)]),
    # What is no number is no weight.
    ("(a:b)", [("a:b", 1.1)]),
    ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
    ("(a:)", [("a:", 1.1)]),
    ("(a:1.2 b)", [("a:1.2 b", 1.1)]),
    ("ratio 3:4", [("ratio 3:4", 1)]),
    # Passages.
    ("a BREAK b", [("a", 1), B, ("b", 1)]),
    ("a\nBREAK\nb", [("a", 1), B, ("b", 1)]),
    ("a BREAK BREAK b", [("a", 1), B, B, ("b", 1)]),
    ("BREAK a", [B, ("a", 1)]),
    ("a BREAK", [("a", 1)]),
    ("BREAK", []),
    ("(a BREAK b:1.2)", [("a", 1.2), B, ("b", 1.2)]),
    ("BREAKFAST, break, UNBREAK", [("BREAKFAST, break, UNBREAK", 1)]),
    ("🏰 (замок:1.2)", [("🏰 ", 1), ("замок", 1.2)]),
]


@pytest.mark.parametrize(("text", "expected"), WEIGHTS)
def test_weights_and_passages(text: str, expected: list[tuple[str, float] | None]) -> None:
    found: list[tuple[str, float] | None] = []
    for number, passage in enumerate(parse_weights(text)):
        found += [B] * bool(number) + [(piece.text, piece.weight) for piece in passage]
    assert [one and one[0] for one in found] == [one and one[0] for one in expected]
    assert [one[1] for one in found if one] == pytest.approx([one[1] for one in expected if one])


TIMES: list[tuple[str, int, list[str]]] = [
    ("a [b:c:0.5] d", 4, ["a b d", "a b d", "a c d", "a c d"]),
    ("[b:c:1]", 3, ["b", "c", "c"]),
    ("[b:c:2]", 3, ["b", "b", "c"]),
    ("[b:c:1.0]", 3, ["b", "b", "b"]),
    ("[b:c:0]", 2, ["c", "c"]),
    ("[b:c:-1]", 2, ["c", "c"]),
    ("[b:c:99]", 2, ["b", "b"]),
    ("[b:c:1e9]", 2, ["b", "b"]),
    ("[b:c: .25 ]", 4, ["b", "c", "c", "c"]),
    ("[b:0.5]", 2, ["", "b"]),
    ("[b::0.5]", 2, ["b", ""]),
    ("[:b:0.5]", 2, ["", "b"]),
    ("[::0.5]", 2, ["", ""]),
    # 5 steps: half is two and a half, and whole steps count.
    ("[b:c:0.5]", 5, ["b", "b", "c", "c", "c"]),
    ("[b:c:0.7]", 10, ["b"] * 7 + ["c"] * 3),
    ("[b|c]", 3, ["b", "c", "b"]),
    ("a [b|c|d] e", 4, ["a b e", "a c e", "a d e", "a b e"]),
    ("[b|]", 2, ["b", ""]),
    ("[|]", 2, ["", ""]),
    ("[[b|c]:d:0.5]", 4, ["b", "c", "d", "d"]),
    ("[b:[c|d]:0.5]", 4, ["b", "b", "c", "d"]),
    ("[b:[c:d:3]:1]", 4, ["b", "c", "c", "d"]),
    ("[(b:1.2):(c:0.8):0.5]", 2, ["(b:1.2)", "(c:0.8)"]),
    ("([b:c:0.5]:1.3)", 2, ["(b:1.3)", "(c:1.3)"]),
    ("[[b]:c:0.5]", 2, ["[b]", "c"]),
    ("[b, BREAK c:d:0.5]", 2, ["b, BREAK c", "d"]),
    # What only weighs, or has no partner, stays as it is written.
    ("[b]", 2, ["[b]", "[b]"]),
    ("[b:c]", 1, ["[b:c]"]),
    ("[b:c:d:0.5]", 1, ["[b:c:d:0.5]"]),
    ("[b|c:0.5]", 1, ["[b|c:0.5]"]),
    ("b:c:0.5]", 1, ["b:c:0.5]"]),
    ("[b:c:0.5", 1, ["[b:c:0.5"]),
    ("[(b:c:0.5]", 1, ["[(b:c:0.5]"]),
    ("( [b:c:0.5]", 2, ["( b", "( c"]),
    ("b | c", 1, ["b | c"]),
    (r"\[b:c:0.5\]", 1, [r"\[b:c:0.5\]"]),
    (r"[b\:x:c:0.5]", 2, [r"b\:x", "c"]),
    ("", 1, [""]),
]


@pytest.mark.parametrize(("text", "steps", "expected"), TIMES)
def test_words_that_change_on_the_way(text: str, steps: int, expected: list[str]) -> None:
    timeline = parse_timeline(text)
    assert [words_at(timeline, step, steps) for step in range(steps)] == expected


def test_several_changes_in_one_prompt() -> None:
    """The example with which the grammar's manual explains itself, over 100 steps."""
    text = "a [mountain:lake:0.25] and [an oak:a christmas tree:0.75][ in foreground::0.6][ in background:0.25] [shoddy:masterful:0.5]"
    timeline = parse_timeline(text)
    said = {
        0: "a mountain and an oak in foreground shoddy",
        24: "a mountain and an oak in foreground shoddy",
        25: "a lake and an oak in foreground in background shoddy",
        50: "a lake and an oak in foreground in background masterful",
        60: "a lake and an oak in background masterful",
        75: "a lake and a christmas tree in background masterful",
        99: "a lake and a christmas tree in background masterful",
    }
    assert {step: words_at(timeline, step, 100) for step in said} == said


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000, "[" * 100_000, ")" * 100_000, "]" * 100_000, "(a" * 50_000, "(a)" * 33_000, "(" * 50_000 + ":1)" * 16_000, "[|" * 33_000 + "]" * 33_000,
        "[a:" * 25_000 + ":0.5]" * 5_000, "[" * 14_000 + "a:b:0.5]" * 10_000, " " * 100_000, "BREAK " * 16_000, ":1" * 50_000, "\\" * 99_999, ": " * 50_000,
        "(a:" + " " * 99_000, "(a:" + "1" * 99_000, "x" * 100_000,
    ],
)  # fmt: skip
def test_anything_is_read_in_linear_time(text: str) -> None:
    start = time.process_time()
    for step in range(2):
        parse_weights(words_at(parse_timeline(text), step, 2))
    assert time.process_time() - start < 4


def test_brackets_nested_very_deep_add_nothing_more() -> None:
    ((piece,),) = parse_weights("(" * 1000 + "a" + ")" * 1000)
    assert piece.weight == pytest.approx(1.1**32)
    assert words_at(parse_timeline("[" * 100 + "a" + ":1]" * 100), 1, 2).endswith(":1]" * 68)


@pytest.mark.parametrize("text", ["(a:101)", "(a:-1000)", "((a:60):2)", "(a:" + "9" * 500 + ")"])
@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_a_weight_that_no_picture_survives_is_refused(text: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_words(text, field)
    assert caught.value.field == field
    assert field.replace("_", " ") in caught.value.message
    with pytest.raises(InvalidRequest):
        resolve(TextToImage.model_validate({"prompt": "x", field: text}), CARD)
    check_words("(a:1.5) ((((b)))) [c] (d:0)", field)


def test_runs_of_tokens() -> None:
    def spell(text: str) -> list[int]:
        return [ord(letter) for letter in text if letter != " "]

    def runs(text: str) -> list[str]:
        return ["".join(chr(placed.token) for placed in run) for run in lay_out(parse_weights(text), spell, room=4)]

    assert runs("") == [""]
    assert runs("abcdef") == ["abcd", "ef"]
    assert runs("ab BREAK cdefg") == ["ab", "cdef", "g"]
    assert runs("BREAK a") == ["", "a"]
    assert runs("BREAK") == [""]
    assert runs("a BREAK BREAK b") == ["a", "", "b"]
    assert [placed.weight for run in lay_out(parse_weights("abc(def:2)"), spell, room=4) for placed in run] == [1, 1, 1, 2, 2, 2]
