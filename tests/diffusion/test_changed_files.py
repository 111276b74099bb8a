"""A model is read anew for the next picture when what it was read from has changed: nobody has to close the studio for a note to count."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from engine import DamagedFile
from engine.contract.work import Loads, Pixels, Work
from engine.diffusion.painter import Painter
from engine.weights.single_files import files_of
from engine.weights.stamps import stamps
from tests.conftest import STARTER
from tests.diffusion.originals import make_pair, to_original
from tests.diffusion.test_laying_in import recipe
from tests.faults.figures import Figures


@pytest.fixture
def models(tmp_path: Path) -> Path:
    make_pair(tmp_path, "sd2")
    return tmp_path


def fresh() -> Painter:
    return Painter(device="cpu", dtype="float32", previews=False)


def drawn(painter: Painter, model: Path) -> tuple[bytes, bool]:
    """A small picture, and whether the model had to be read for it."""
    found = list(painter.paint(Work("job", recipe(width=64, steps=2), model)))
    return next(one.rgb for one in found if isinstance(one, Pixels)), any(isinstance(one, Loads) for one in found)


def test_a_note_counts_from_the_next_picture_on(models: Path) -> None:
    """The card of a file says how to write it; who writes it sees it work, to the byte of what a fresh process draws."""
    painter, file = fresh(), models / "sd2.safetensors"
    plain = drawn(painter, file)
    assert drawn(painter, file) == (plain[0], False)
    file.with_suffix(".json").write_text(json.dumps({"predicts": "v"}))
    noted = drawn(painter, file)
    assert noted == drawn(fresh(), file)
    assert noted[1]
    assert noted[0] != plain[0]
    assert drawn(painter, file) == (noted[0], False)
    file.with_suffix(".json").unlink()
    assert drawn(painter, file) == (plain[0], True)


def test_a_note_that_is_damaged_is_told_and_one_that_is_mended_draws(models: Path) -> None:
    painter, file = fresh(), models / "sd2.safetensors"
    plain, _ = drawn(painter, file)
    file.with_suffix(".json").write_text('{"predicts": "nonsense"}')
    with pytest.raises(DamagedFile, match="predicts something unknown"):
        drawn(painter, file)
    file.with_suffix(".json").write_text('{"predicts": "epsilon"}')
    assert drawn(painter, file) == (plain, True)


def change(path: Path, **words: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | words))


def test_settings_and_weights_of_a_folder_count_too(models: Path) -> None:
    painter, folder = fresh(), models / "sd2-folder"
    plain, _ = drawn(painter, folder)
    change(folder / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    changed = drawn(painter, folder)
    assert changed == drawn(fresh(), folder)
    assert changed[0] != plain
    weights = next((folder / "vae").glob("*.safetensors"))
    tensors = load_file(weights)
    save_file(tensors | {"decoder.conv_out.bias": tensors["decoder.conv_out.bias"] + 0.5}, weights)
    brighter = drawn(painter, folder)
    assert brighter == drawn(fresh(), folder)
    assert brighter[0] not in (plain, changed[0])


def test_words_are_read_by_the_folder_that_is_borrowed_from_now(models: Path) -> None:
    """What another text encoder said is not remembered as this one's."""
    folder = models / "sd2-folder"
    second = shutil.copytree(folder, models / "second")
    bare = to_original(folder, models / "bare.safetensors", "sd2", without=("text_encoder",))
    change(second / "text_encoder" / "config.json", layer_norm_eps=0.5)
    pictures: dict[str, bytes] = {}
    painter = fresh()
    for base in ("sd2-folder", "second"):
        bare.with_suffix(".json").write_text(json.dumps({"base": base}))
        pictures[base], _ = drawn(painter, bare)
        assert pictures[base] == drawn(fresh(), bare)[0]
    assert pictures["sd2-folder"] != pictures["second"]


def test_looking_costs_next_to_nothing(figure: Figures) -> None:
    """Beside one small picture of the starter, the quickest of several"""
    painter = fresh()
    drawn(painter, STARTER)
    picture_s = min(seconds(lambda: drawn(painter, STARTER)) for _ in range(3))
    look_s = min(seconds(lambda: stamps(files_of(STARTER))) for _ in range(50))
    print(f"{len(files_of(STARTER))} files are looked at in {1000 * look_s:.2f} ms")
    figure("looking at the files, of a picture of 64 × 64 in 2 steps", look_s / picture_s, at_most=0.05)


def seconds(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began
