"""Words left to chance: the grammar as tables, the odds as counted, and refusals that do not depend on luck."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import pytest

from engine import InvalidRequest, Recipe, TextToImage, expand_choices
from engine.contract.recipe import resolve
from engine.contract.wildcards import fill_in, is_plain, parse_template
from tests.contract.test_recipe import CARD

LISTS = {
    "colour": ["red", "blue"],
    "subject": ["castle", "2::ship with {one|two} masts"],
    "scene": ["a __colour__ __subject__"],
    "self": ["calm", "calm", "calm", "a __self__ b"],
    "left": ["__right__"],
    "right": ["x {y|__left__}"],
    "lost": ["__nowhere__"],
    "path": ["__../../secret__"],
    "twice": ["__big__ __big__"],
    "big": ["x" * 3000],
    "wide_0": ["red"],
}


def lines(name: str, control: str = "prompt") -> Sequence[str]:
    if name not in LISTS:
        raise InvalidRequest(f"There is no wildcard list named {name} here.", field=control)
    return LISTS[name]


def fill(text: str, seed: int = 0, control: str = "prompt") -> str:
    return fill_in(parse_template(text, control), seed=seed, lists=lambda name: lines(name, control), control=control)


OUTCOMES: list[tuple[str, set[str]]] = [
    ("a {red|blue} castle", {"a red castle", "a blue castle"}),
    ("{ red | blue }", {"red", "blue"}),
    ("{a|}b", {"ab", "b"}),
    ("{a|{b|c}}", {"a", "b", "c"}),
    ("{a|b}{c|d}", {"ac", "ad", "bc", "bd"}),
    ("{3::a|0::b}", {"a"}),
    ("{0::a|0::b}", {"a", "b"}),
    ("{0.5::a|.5::b}", {"a", ".5::b"}),
    ("__colour__", {"red", "blue"}),
    ("x__colour__y", {"xredy", "xbluey"}),
    ("__wide_0__", {"red"}),
    ("{__colour__|green}", {"red", "blue", "green"}),
    ("__subject__", {"castle", "ship with one masts", "ship with two masts"}),
    ("(__colour__:1.2) [castle:ship:0.5]", {"(red:1.2) [castle:ship:0.5]", "(blue:1.2) [castle:ship:0.5]"}),
]
LETTERS = [
    "plain words", "{a}", "{}", "{a", "a}", "a | b", "{a|b", "a|b}", r"\{a|b\}", r"\__colour__", "a __ b __ c", "_____", "__ name __", "a_b__c", "[a|b]",
    "{a|b\\}", "", "__", "____", "snake__case and__more", "🏰 {", "2::a",
]  # fmt: skip


@pytest.mark.parametrize(("text", "outcomes"), OUTCOMES)
def test_what_chance_may_choose(text: str, outcomes: set[str]) -> None:
    assert {fill(text, seed) for seed in range(120)} == outcomes


@pytest.mark.parametrize("text", LETTERS)
def test_what_is_left_as_it_is(text: str) -> None:
    assert is_plain(parse_template(text, "prompt"))
    assert fill(text) == text


@pytest.mark.parametrize("text", [text for text, _ in OUTCOMES] + LETTERS)
def test_what_was_filled_in_is_filled_in_for_good(text: str) -> None:
    once = fill(text, 5)
    assert fill(once, 6) == once


def test_odds_are_as_written() -> None:
    counted = Counter(fill("{a|b|2::c}", seed) for seed in range(4000))
    print(dict(counted))
    assert counted["c"] / 4000 == pytest.approx(0.5, abs=0.03)
    assert counted["a"] / 4000 == pytest.approx(0.25, abs=0.03)


def test_what_comes_later_changes_no_choice_before_it() -> None:
    for seed in range(20):
        assert fill("{a|b|c} {d|e}", seed).startswith(fill("{a|b|c}", seed))
    assert fill("{a|b|c|d|e|f}", 3) == fill("{a|b|c|d|e|f}", 3)


@pytest.mark.parametrize("control", ["prompt", "negative_prompt"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("__self__", "names itself"), ("__left__", "names itself"), ("{a|a|a|a|__self__}", "names itself"), ("__nowhere__", "no wildcard list named nowhere"),
        ("__lost__", "no wildcard list named nowhere"), ("__path__", "not a path"), ("__twice__", "too long"), ("{a|b} " * 600, "PICKS"),
    ],
)  # fmt: skip
def test_refusals_name_the_control_whatever_the_seed(text: str, words: str, control: str) -> None:
    if words == "PICKS":
        text, words = "{|}" * 1100, "too many words"
    for seed in range(6):
        with pytest.raises(InvalidRequest, match=words) as caught:
            fill(text, seed, control)
        assert caught.value.field == control


@pytest.mark.parametrize(
    "payload",
    [
        "../../etc/passwd", "..", "../colour", "/etc/passwd", "\\\\server\\share", "..\\..\\secret", "C:\\x", "C:x", "a/b", "./colour", ".hidden", "%2e%2e%2fcolour",
        "~/x", "colour/../../x", "colour\x00.txt", "....//x", "a b/../c",
    ],
)  # fmt: skip
def test_a_path_is_no_name(payload: str) -> None:
    with pytest.raises(InvalidRequest, match="not a path") as caught:
        fill(f"a __{payload}__ castle")
    assert caught.value.field == "prompt"


@pytest.mark.parametrize(
    "text", ["{" * 100_000, "}" * 100_000, "{a|" * 33_000, "{" * 33_000 + "|}" * 33_000, "__" * 50_000, "__a" * 33_000, "_" * 99_999, "\\" * 99_999]
)
def test_templates_are_read_in_linear_time(text: str) -> None:
    start = time.process_time()
    parse_template(text, "prompt")
    assert time.process_time() - start < 4


def test_each_picture_of_a_batch_has_its_own_words() -> None:
    request = TextToImage(prompt="a {red|blue|green|white} __subject__", negative_prompt="{blurry|noisy}", seed=2**32 - 2, count=6)
    batch = resolve(request, CARD, lists=lines)
    assert batch.prompts is not None
    assert batch.prompt == batch.prompts[0]
    assert len(set(batch.prompts)) > 1
    assert (batch.prompt_template, batch.negative_prompt_template) == (request.prompt, request.negative_prompt)
    assert Recipe.from_json(batch.canonical_json()) == batch
    assert batch.to_request() == TextToImage.model_validate(
        {**request.model_dump(), **batch.to_request().model_dump(exclude={"prompt", "negative_prompt"})}
    )
    for number in range(6):
        picture = batch.for_picture(number)
        assert (picture.prompt, picture.prompts, picture.prompt_template) == (batch.prompts[number], None, request.prompt)
        alone = resolve(request.model_copy(update={"seed": picture.seed, "count": 1}), CARD, lists=lines)
        assert alone == picture
        # Its own words need no list any more.
        again = resolve(picture.to_request(), CARD)
        assert again == picture.model_copy(update={"prompt_template": None, "negative_prompt_template": None})


def test_pictures_of_a_variation_share_their_words() -> None:
    batch = resolve(TextToImage(prompt="{a|b|c|d|e}", seed=3, count=5, variation_seed=1, variation_strength=0.2), CARD, lists=lines)
    assert batch.prompts is None
    assert batch.prompt_template == "{a|b|c|d|e}"


def test_plain_words_leave_no_template() -> None:
    assert "template" not in resolve(TextToImage(prompt="a {castle} | [b]", count=3), CARD, lists=lines).canonical_json()


@pytest.mark.parametrize(("text", "words"), [("{|}", "empty"), ("(a:{1000|2000})", "weight")])
def test_what_comes_out_is_judged_too(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        resolve(TextToImage(prompt=text), CARD, lists=lines)


@pytest.mark.parametrize(
    ("prompt", "classes"),
    [
        ("a castle", [("", "a castle")]),
        ("a {red|blue} castle", [("red", "a red castle"), ("blue", "a blue castle")]),
        ("{red|} {car|ship}", [("red car", "red car"), ("red ship", "red ship"), ("car", " car"), ("ship", " ship")]),
        ("{|}", [("nothing", ""), ("nothing", "")]),
        ("{a|{b|c}}", [("a", "a"), ("b", "b"), ("c", "c")]),
        ("{a|3::b}", [("a", "a"), ("b", "b")]),
        ("{a|__colour__} x", [("a", "a x"), ("__colour__", "__colour__ x")]),
        (r"\{a|b\}", [("", r"\{a|b\}")]),
        ("{a", [("", "{a")]),
    ],
)
def test_a_dataset_takes_every_choice(prompt: str, classes: list[tuple[str, str]]) -> None:
    assert expand_choices(prompt) == classes


def test_a_dataset_has_few_classes() -> None:
    assert len(expand_choices("{a|b|c|d}" * 3)) == 64
    with pytest.raises(InvalidRequest, match="65 classes or more"):
        expand_choices("{a|b|c|d}" * 3 + "{e|f}")
