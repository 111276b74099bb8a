"""Through the door: wildcards are filled in once, saved as template and as result, and refused before anything is queued."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine import Engine, InvalidRequest, Settings, parse_request
from engine.library.metadata import read_recipe
from engine.library.wildcards import BUNDLED_WILDCARDS
from tests.conftest import OWNER, events_of
from tests.pictures import draw, read

SMALL = {"steps": 2, "width": 64, "height": 64, "seed": 5}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(Settings(data=tmp_path_factory.mktemp("data"), worker="inline", dtype="float32", device="cpu")) as running:
        lists = running.settings.data / "wildcards"
        lists.mkdir()
        (lists / "tree.txt").write_text("# mine\n\noak\n2::birch\n", encoding="utf-8")
        (lists / "circle.txt").write_text("a\nb\n__circle__\n", encoding="utf-8")
        (lists / "empty.txt").write_text("# nothing\n", encoding="utf-8")
        (lists / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
        (lists / "large.txt").write_text("x\n" * 400_000, encoding="utf-8")
        (running.settings.data / "secret.txt").write_text("secret", encoding="utf-8")
        (lists / "link.txt").symlink_to(running.settings.data / "secret.txt")
        yield running


def test_each_picture_of_a_batch_equals_itself_alone(engine: Engine) -> None:
    template = "a __colour__ {castle|ship|tower} __place__"
    batch = draw(engine, "txt2img", prompt=template, negative_prompt="{blurry|noisy}", count=4, **SMALL)
    assert len({picture.recipe.prompt for picture in batch}) > 1
    for picture in batch:
        saved = read_recipe(picture.path)
        assert saved == picture.recipe
        assert saved.prompt_template == template
        assert "__" not in saved.prompt
        asked = {**SMALL, "seed": saved.seed}
        (alone,) = draw(engine, "txt2img", prompt=template, negative_prompt="{blurry|noisy}", **asked)
        (again,) = draw(engine, "txt2img", **saved.to_request().model_dump(exclude={"mode"}, exclude_none=True))
        assert alone.recipe == saved
        assert read(alone).tobytes() == read(picture).tobytes() == read(again).tobytes()


def test_a_list_of_ones_own_is_found_at_once(engine: Engine) -> None:
    (engine.settings.data / "wildcards" / "late.txt").write_text("only this", encoding="utf-8")
    assert "late" in engine.wildcards()
    job = engine.submit(parse_request({"prompt": "a __late__ __tree__", **SMALL}), OWNER)
    events_of(engine, job.id)
    assert job.recipe.prompt in ("a only this oak", "a only this birch")


@pytest.mark.parametrize("name", sorted(path.stem for path in BUNDLED_WILDCARDS.glob("*.txt")))
def test_bundled_lists_fill_in(engine: Engine, name: str) -> None:
    for seed in range(12):
        engine.estimate(parse_request({"prompt": f"__{name}__", "seed": seed}), OWNER)


def test_there_are_lists_for_concept_art() -> None:
    assert len(list(BUNDLED_WILDCARDS.glob("*.txt"))) >= 6


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("__circle__", "circle names itself"), ("__nowhere__", "no wildcard list named nowhere"), ("__empty__", "is empty"), ("__latin__", "cannot be read"),
        ("__large__", "too large"), ("__link__", "no wildcard list named link"), ("__../secret__", "not a path"), ("__..\\secret__", "not a path"),
        ("__/etc/hostname__", "not a path"), ("__tree.txt__", "no wildcard list|not a path"), ("__Tree\x00__", "not a path"), ("(a:1000)", "weight"),
    ],
)  # fmt: skip
def test_refused_in_a_sentence_before_anything_is_queued(engine: Engine, field: str, words: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        engine.submit(parse_request({"prompt": "a castle", field: f"a {words}", **SMALL}), OWNER)
    assert caught.value.field == field
    assert "secret.txt" not in str(caught.value)
    assert engine.jobs(OWNER) == []
