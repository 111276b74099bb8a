"""Styles are words: read from files, put around the designer's own, and nothing else."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from engine import Engine, InvalidRequest, Settings, Style, apply_style
from engine.contract.wildcards import is_plain, parse_template
from engine.contract.words import parse_timeline, parse_weights
from engine.library.styles import BUNDLED_STYLES, Styles
from engine.terminal.flags import add_flags, read_wish
from engine.terminal.generate import _styled  # pyright: ignore[reportPrivateUsage]

BUNDLED = Styles((BUNDLED_STYLES,)).cards()


def test_there_is_a_style_for_every_kind_of_concept_art() -> None:
    styles = [style for style in BUNDLED if style.prompt != "{prompt}"]
    assert len(styles) >= 40
    assert len({style.name.casefold() for style in BUNDLED}) == len(BUNDLED)
    named = {style.name for style in BUNDLED}
    assert named >= {
        "Environment", "Character sheet", "Prop turn-around", "Creature", "Vehicle", "Interior", "Key art", "Matte painting", "Blueprint", "Orthographic",
        "Better hands", "Better faces", "No text", "No symmetry",
    }  # fmt: skip


@pytest.mark.parametrize("style", BUNDLED, ids=lambda style: style.name)
def test_a_bundled_style_is_words_alone(style: Style) -> None:
    assert style.prompt.count("{prompt}") == 1
    assert style.note.endswith(".")
    prompt, negative = apply_style("a red castle", "blurry", style)
    assert "a red castle" in prompt
    assert "{" not in prompt
    assert negative.startswith("blurry")
    for text in (prompt, negative):
        assert is_plain(parse_template(text, "prompt"))
        assert parse_timeline(text) == (text,)
        assert [piece.weight for passage in parse_weights(text) for piece in passage] == [1]


def test_where_the_words_go() -> None:
    style = Style(name="x", group="g", prompt="art of {prompt}, bold", negative_prompt="dull", note="n")
    assert apply_style("a (red:1.2) {castle|ship}", "", style) == ("art of a (red:1.2) {castle|ship}, bold", "dull")
    assert apply_style("", "flat", style) == ("art of, bold", "flat, dull")
    assert apply_style("  ", "", Style(name="x", group="g", note="n")) == ("", "")
    assert apply_style("a", "b", Style(name="x", group="g", prompt="bold", note="n")) == ("a, bold", "b")
    assert apply_style("a", "b", Style(name="x", group="g", prompt="", note="n")) == ("a", "b")
    # Words that hold the place of other words are left as they are.
    assert apply_style("{prompt}", "", style) == ("art of {prompt}, bold", "dull")


def test_a_damaged_file_is_left_out_and_a_good_one_found(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    (tmp_path / "b.json").write_text("[1]", encoding="utf-8")
    (tmp_path / "c.json").write_text(json.dumps({"group": "g", "styles": [{"name": "x", "note": "n", "code": "y"}]}), encoding="utf-8")
    (tmp_path / "d.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "e.json").write_text("[" * 100_000, encoding="utf-8")
    (tmp_path / "f.json").write_text(
        json.dumps({"group": "Mine", "styles": [{"name": "Chalk", "prompt": "chalk {prompt}", "note": "n"}]}), encoding="utf-8"
    )
    styles = Styles((tmp_path,))
    assert [style.name for style in styles.cards()] == ["Chalk"]
    assert styles.card(" chalk ").group == "Mine"
    with pytest.raises(InvalidRequest) as caught:
        styles.card("../f")
    assert caught.value.field == "style"


def test_the_terminal_takes_styles_by_name(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    wish = read_wish(parser.parse_args(["a red castle", "--style", "blueprint", "--style", "no text", "--negative", "blurry"]))
    engine = Engine(Settings(data=tmp_path, worker="inline"))
    values = _styled(engine, wish).values
    assert values["prompt"].startswith("blueprint of a red castle, white lines")
    assert values["negative_prompt"].startswith("blurry, shading")
    assert values["negative_prompt"].endswith("caption")
    with pytest.raises(InvalidRequest, match="no style named nothing"):
        _styled(engine, read_wish(parser.parse_args(["a", "--style", "nothing"])))
    assert len(engine.styles()) == len(BUNDLED)
    engine.close()
