"""The same engine from a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def easel(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "engine", *arguments]
    if arguments[0] == "generate":
        command += ["--data", str(data)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_generate_then_inspect(tmp_path: Path) -> None:
    out = tmp_path / "castle.png"
    done = easel(
        "generate", "a red castle", "--negative", "blurry", "--steps", "3", "--guidance", "5", "--sampler", "Euler a", "--seed", "9",
        "--width", "64", "--height", "128", "--count", "2", "--out", str(out), "--json", data=tmp_path / "data",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "step 3/3" in done.stderr
    result = json.loads(done.stdout)
    assert [Path(one["path"]).name for one in result["pictures"]] == ["castle-1.png", "castle-2.png"]
    assert [one["seed"] for one in result["pictures"]] == [9, 10]
    with Image.open(tmp_path / "castle-2.png") as image:
        assert image.size == (64, 128)
    shown = easel("inspect", str(tmp_path / "castle-2.png"), data=tmp_path)
    recipe = json.loads(shown.stdout)
    assert recipe == result["pictures"][1]["recipe"]
    assert (recipe["prompt"], recipe["scheduler"], recipe["guidance_scale"], recipe["seed"]) == ("a red castle", "euler_a", 5.0, 10)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x", "--steps", "nan"), "Steps cannot be"),
        (("",), "The prompt is empty"),
        (("x", "--sampler", "magic"), "Sampler"),
        (("x", "--width", "100001"), "Width"),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    done = easel("generate", *arguments, data=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_inspect_says_what_is_wrong(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    for name in ("plain.png", "missing.png"):
        done = easel("inspect", str(tmp_path / name), data=tmp_path)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert done.stderr.strip()
