"""Control units from a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from engine import InvalidRequest
from engine.terminal.controls import read_unit
from tests.pictures import scene
from tests.test_terminal import easel


@pytest.mark.parametrize(
    ("text", "path", "values"),
    [
        ("canny:sketch.png", "sketch.png", {}),
        ("canny:sketch.png:0.8", "sketch.png", {"weight": "0.8"}),
        ("canny:sketch.png:.8:0.1-0.9", "sketch.png", {"weight": ".8", "start": "0.1", "end": "0.9"}),
        ("canny:a b/sketch.png:1:0-1:my-edges", "a b/sketch.png", {"weight": "1", "start": "0", "end": "1", "control": "my-edges"}),
        ("canny:sketch.png:1:my-edges", "sketch.png", {"weight": "1", "control": "my-edges"}),
        ("canny:C:/maps/sketch.png:-3", "C:/maps/sketch.png", {"weight": "-3"}),
        ("canny:2024:07.png", "2024:07.png", {}),
    ],
)
def test_a_unit_in_one_word(text: str, path: str, values: dict[str, str]) -> None:
    assert read_unit(text) == (Path(path), {"preprocessor": "canny", **values})


@pytest.mark.parametrize("text", ["", "canny", "canny:", ":sketch.png"])
def test_a_word_that_is_none_says_how_it_is_written(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"--control canny:sketch.png:0.8"):
        read_unit(text)


def test_generate_with_a_unit(tmp_path: Path) -> None:
    sketch, out = tmp_path / "sketch.png", tmp_path / "castle.png"
    Image.fromarray(scene(96, 96)).save(sketch)
    words = ("generate", "a red castle", "--steps", "2", "--width", "64", "--height", "64", "--seed", "1", "--out", str(out), "--json")
    done = easel(*words, "--control", f"canny:{sketch}:0.8:0-0.9", data=tmp_path / "data")
    assert done.returncode == 0, done.stderr
    unit = json.loads(done.stdout)["pictures"][0]["recipe"]["controls"][0]
    assert (unit["preprocessor"], unit["control"], unit["weight"], unit["end"]) == ("canny", "starter-edges", 0.8, 0.9)


def test_what_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    sketch = tmp_path / "sketch.png"
    Image.fromarray(scene(96, 96)).save(sketch)
    refused = easel("generate", "a", "--control", f"hed:{sketch}", data=tmp_path / "data")
    assert refused.returncode == 1
    assert "fetch-preprocessor hed" in refused.stderr
    gone = easel("generate", "a", "--control", "canny:gone.png", data=tmp_path / "data")
    assert gone.returncode == 2
    assert "Cannot read gone.png" in gone.stderr


def test_the_weights_are_listed_and_only_fetched_when_agreed(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    shown = easel("fetch-preprocessor", *data, data=tmp_path)
    assert shown.returncode == 0
    assert "hed               29 MB to fetch      Apache-2.0" in shown.stdout
    # Nobody is there to agree.
    asked = easel("fetch-preprocessor", "openpose", *data, data=tmp_path)
    assert asked.returncode == 1
    assert "510 MB from huggingface.co, licence: non-commercial research (CMU)." in asked.stdout
    assert "Nothing was fetched." in asked.stderr
