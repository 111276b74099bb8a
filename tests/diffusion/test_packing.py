"""Quantised models: near the picture, smaller, the same after every way that their weights can go, and refused in words where they cannot be had."""

from __future__ import annotations

import gc
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine import InvalidRequest
from engine.contract.adapters import LoraUse
from engine.contract.memory import Memory, MemoryChoice, Room
from engine.contract.work import Lightened, Pixels, Work
from engine.diffusion.loading import load_components
from engine.diffusion.painter import Painter
from engine.diffusion.parts import module_bytes
from tests.conftest import STARTER
from tests.diffusion.families import make_family
from tests.diffusion.loras import write
from tests.diffusion.originals import make_pair
from tests.diffusion.test_laying_in import card, fit_of, hooked_once, host, loads, messages, picture, places_at_steps, recipe, stay_of
from tests.faults.figures import Figures
from tests.studio import resident_mb

CPU = torch.device("cpu")


def painter(room: Room | None = None, choice: MemoryChoice = "int8", dtype: str = "float32") -> Painter:
    return Painter(device="cpu", dtype=dtype, previews=False, memory=Memory(choice=choice), room=room)


@pytest.fixture(scope="module")
def quantised() -> bytes:
    return picture(painter())


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(STARTER, tmp_path_factory.mktemp("models") / "second"))


def psnr(one: bytes, other: bytes) -> float:
    """Of two pictures, in decibels."""
    a, b = (np.frombuffer(rgb, np.uint8).astype(float) for rgb in (one, other))
    return float(10 * np.log10(255**2 / max(np.mean((a - b) ** 2), 1e-12)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_picture_stays_near_and_the_bytes_fall(figure: Figures, dtype: str) -> None:
    """The starter with its denoiser in int8 beside itself, 128 × 128 in 8 steps"""
    drawn: dict[str, bytes] = {}
    sizes: dict[str, int] = {}
    for choice in ("automatic", "int8"):
        own = painter(choice=choice, dtype=dtype)
        drawn[choice] = picture(own, width=128, height=128, steps=8)
        sizes[choice] = stay_of(own).parts["unet"].bytes
    assert drawn["int8"] != drawn["automatic"]
    figure("near the picture of the model as trained", psnr(drawn["int8"], drawn["automatic"]), "dB", at_least=30)
    # Only its linear layers are quantised, and of a UNet of this kind they are less than half.
    figure("share of the denoiser's bytes", sizes["int8"] / sizes["automatic"], at_most=0.7 if dtype == "float32" else 0.8)


@pytest.mark.parametrize("family", ["flux1", "qwen", "sdxl"])
def test_a_transformer_falls_to_about_half(figure: Figures, tmp_path: Path, family: str) -> None:
    folder = make_family(tmp_path / family, family)
    plain, packed = (
        load_components(folder, device=CPU, dtype=torch.bfloat16, packing=packing).parts[("unet" if family == "sdxl" else "transformer")]
        for packing in (None, "int8")
    )
    counted = module_bytes(packed) / module_bytes(plain)
    # Tiny layers have many scales for few numbers: a full-size transformer comes to 0.51.
    figure(f"{family}: share of the denoiser's bytes", counted, at_most=0.85 if family == "sdxl" else 0.7)


def test_a_part_comes_back_the_same_to_the_bit() -> None:
    components = load_components(STARTER, device=CPU, dtype=torch.float32, packing="int8")
    assert components.stay is not None
    part, module = components.stay.parts["unet"], components.unet

    def numbers() -> dict[str, torch.Tensor]:
        made = {name: value.dequantize() if hasattr(value, "qdata") else value for name, value in module.state_dict().items()}
        return {name: value.clone() for name, value in made.items()}

    before, taken = numbers(), module_bytes(module)
    assert any(hasattr(value, "qdata") for value in module.state_dict().values())
    for way in ("disk", "host"):
        part.move(way)
        assert part.place == way
        if way == "disk":
            assert all(value.is_meta for value in module.parameters())
        part.move("device")
        assert module_bytes(module) == taken
        assert all(torch.equal(before[name], value) for name, value in numbers().items())


@pytest.mark.parametrize(("room", "plan"), [(host(0.248), "one part at a time"), (card(0.25), "text encoder on CPU"), (card(0.21), "in pieces")])
def test_quantised_it_is_laid_in_like_any_other(quantised: bytes, room: Room, plan: str) -> None:
    own = painter(room)
    for _ in range(2):
        assert picture(own) == quantised
    assert (stay_of(own).plan, stay_of(own).packing) == (plan, "int8")


def test_a_lora_and_its_absence_leave_no_trace(quantised: bytes, tmp_path: Path) -> None:
    components = load_components(STARTER, device=CPU, dtype=torch.float32)
    path = write(tmp_path / "text.safetensors", components.unet, components.text_encoder, "text", seed=1)
    for room in (host(4), host(0.248)):
        own, drawn = painter(room), list[bytes]()
        for weight in (0.8, 0.0, 0.8):
            asked = recipe().model_copy(update={"loras": (LoraUse(name="text", weight=weight),)})
            drawn += [one.rgb for one in own.paint(Work("job", asked, STARTER, loras=(path,))) if isinstance(one, Pixels)]
        assert drawn[0] == drawn[2] != drawn[1]
        assert picture(own) == quantised


@pytest.mark.parametrize("room", [host(4), card(4)])
def test_out_of_memory_goes_on_once_with_the_same_numbers(quantised: bytes, room: Room) -> None:
    own = painter(room)
    before = fit_of(own)
    remove = hooked_once(own, lambda call: call == 2)
    found = messages(own)
    remove()
    assert sum(isinstance(one, Lightened) for one in found) == 1
    assert [one.rgb for one in found if isinstance(one, Pixels)] == [quantised]
    assert (picture(own), fit_of(own), stay_of(own).packing) == (quantised, before, "int8")


def test_a_first_load_that_runs_out_goes_on_quantised(quantised: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    import engine.diffusion.painter as room

    own, given = painter(host(4)), list[Any]()

    def once(*words: Any, **named: Any) -> Any:
        given.append((named["plan"], named["packing"]))
        if len(given) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return load_components(*words, **named)

    monkeypatch.setattr(room, "load_components", once)
    assert picture(own) == quantised
    assert given == [("whole", "int8"), ("one part at a time", "int8")]


def test_another_choice_lays_the_model_in_anew_at_the_next_picture(quantised: bytes) -> None:
    """What an operator chooses on the page travels with each work"""
    own = painter(choice="automatic")

    def drawn(choice: MemoryChoice | None) -> tuple[list[str], bytes]:
        found = list(own.paint(Work("job", recipe(), STARTER, memory=choice)))
        return loads(found), next(one.rgb for one in found if isinstance(one, Pixels))

    asked: list[MemoryChoice | None] = [None, "int8", "int8", "parts", "everything", "automatic", "fp8", None]
    got = [drawn(choice) for choice in asked]
    plain = got[0][1]
    # "Everything" is what "automatic" comes to here: nothing is read for it.
    assert [bool(said) for said, _ in got] == [True, True, False, True, True, False, True, True]
    assert [rgb == plain for _, rgb in got] == [True, False, False, True, True, True, False, True]
    assert got[1][1] == got[2][1] == quantised
    assert len(own._models) == 1
    assert own._residency.bytes_on("device") == sum(module_bytes(part.module) for part in stay_of(own).parts.values())


def test_twenty_changes_of_model_and_plan_leave_memory_flat(second: Path, figure: Figures) -> None:
    """Two models in turn, quantised and as trained, 20 times"""
    own, sizes_mb = painter(host(0.3)), list[float]()
    for number in range(20):
        choice: MemoryChoice = ("int8", "automatic", "parts", "fp8")[number % 4]
        list(own.paint(Work("job", recipe(steps=1, width=64), (STARTER, second)[number // 2 % 2], memory=choice)))
        gc.collect()
        sizes_mb.append(resident_mb())
    print("MB after each change:", *(f"{size:.0f}" for size in sizes_mb))
    figure("grown from the 8th to the 20th", sizes_mb[-1] - sizes_mb[7], "MB", at_most=30)


@pytest.mark.parametrize("seed", range(2))
def test_a_body_that_raises_anywhere_leaves_the_budget_right(quantised: bytes, second: Path, seed: int) -> None:
    rng, own = random.Random(seed), painter(host(0.28))
    for _ in range(5):
        run, stop = own.paint(Work("job", recipe(), rng.choice([STARTER, second]))), rng.randrange(6)
        for number, _ in enumerate(run):
            if number == stop:
                break
        run.close()
        parts = [part for one in own._models.values() if one.stay is not None for part in one.stay.parts.values()]
        assert own._residency.bytes_on("device") == sum(module_bytes(part.module) for part in parts if part.place == "device")
    assert picture(own) == quantised


def test_a_single_file_is_quantised_to_the_same_numbers(tmp_path: Path) -> None:
    for family in ("sd1", "sdxl"):
        folder, file = make_pair(tmp_path, family)
        drawn = [picture(painter(), path) for path in (folder, file)]
        assert drawn[0] == drawn[1]
        assert drawn[0] != picture(painter(choice="automatic"), folder)


def test_where_it_cannot_be_had_it_is_refused_in_words_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match=r"needs an NVIDIA GPU|bitsandbytes, which is not installed here"):
        messages(painter(choice="nf4"))
    monkeypatch.setattr("engine.diffusion.packing.find_spec", lambda _name: None)
    own = painter()
    with pytest.raises(InvalidRequest, match="torchao, which is not installed here") as caught:
        messages(own)
    assert "pip install -r requirements-quantised.txt" in caught.value.hint
    assert own._residency.bytes_on("device") == 0


def test_while_it_denoises_each_part_is_where_the_plan_says() -> None:
    assert places_at_steps(painter(host(0.248))) == {("disk", "device", "disk")}


def test_a_model_in_memory_is_not_said_to_load() -> None:
    own = painter()
    assert loads(messages(own)) == ["Loading starter"]
    assert loads(messages(own)) == []
