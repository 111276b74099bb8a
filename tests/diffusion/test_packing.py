"""Quantised models: near the picture, smaller, the same after every way that their weights can go, and refused in words where they cannot be had."""

from __future__ import annotations

import gc
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_qwenimage import QwenImageTransformer2DModel
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from engine import InvalidRequest
from engine.contract.adapters import LoraUse
from engine.contract.memory import Memory, MemoryChoice, Packing, Room, packed
from engine.contract.work import BegunAnew, Pixels, Work
from engine.diffusion.four_bits import is_taken
from engine.diffusion.loading import load_components
from engine.diffusion.packing import plain_weights
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


def painter(room: Room | None = None, choice: MemoryChoice = "automatic", dtype: str = "float32") -> Painter:
    return Painter(device="cpu", dtype=dtype, previews=False, memory=Memory(choice=choice), room=room)


@pytest.fixture(scope="module", params=["int8", "nf4"])
def choice(request: pytest.FixtureRequest) -> Packing:
    return request.param


@pytest.fixture(scope="module")
def quantised(choice: Packing) -> bytes:
    return picture(painter(choice=choice))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(STARTER, tmp_path_factory.mktemp("models") / "second"))


def psnr(one: bytes, other: bytes) -> float:
    """Of two pictures, in decibels."""
    a, b = (np.frombuffer(rgb, np.uint8).astype(float) for rgb in (one, other))
    return float(10 * np.log10(255**2 / max(np.mean((a - b) ** 2), 1e-12)))


# Eight bits can hardly be seen; four change what is drawn, and it stays the picture that it was. Only linear layers are quantised, and of
# a UNet of this kind they are less than half.
@pytest.mark.parametrize(
    ("dtype", "packing", "near_db", "share"),
    [("float32", "int8", 30, 0.7), ("bfloat16", "int8", 30, 0.8), ("float32", "nf4", 28, 0.75), ("bfloat16", "nf4", 28, 0.8)],
)
def test_the_picture_stays_near_and_the_bytes_fall(figure: Figures, dtype: str, packing: Packing, near_db: float, share: float) -> None:
    """The starter with its denoiser quantised beside itself, 128 × 128 in 8 steps"""
    drawn: dict[str, bytes] = {}
    sizes: dict[str, int] = {}
    for choice in ("automatic", packing):
        own = painter(choice=choice, dtype=dtype)
        drawn[choice] = picture(own, width=128, height=128, steps=8)
        sizes[choice] = stay_of(own).parts["unet"].bytes
    assert drawn[packing] != drawn["automatic"]
    figure(f"{packing}: near the picture of the model as trained", psnr(drawn[packing], drawn["automatic"]), "dB", at_least=near_db)
    figure(f"{packing}: share of the denoiser's bytes", sizes[packing] / sizes["automatic"], at_most=share)


# Tiny layers have many scales for few numbers, and rows that are shorter than a block of 4 bits stay whole.
@pytest.mark.parametrize(
    ("family", "shares"),
    [("flux1", {"int8": 0.7}), ("qwen", {"int8": 0.7}), ("sdxl", {"int8": 0.85}), ("zimage", {"nf4": 0.45})],
)
def test_a_denoiser_falls_to_a_share(figure: Figures, tmp_path: Path, family: str, shares: dict[Packing, float]) -> None:
    folder = make_family(tmp_path / family, family)
    network = "unet" if family == "sdxl" else "transformer"

    def counted(packing: Packing | None) -> int:
        return module_bytes(load_components(folder, device=CPU, dtype=torch.bfloat16, packing=packing).parts[network])

    for packing, share in shares.items():
        figure(f"{family}: share of the denoiser's bytes, {packing}", counted(packing) / counted(None), at_most=share)


SDXL_UNET: dict[str, Any] = {
    "sample_size": 128, "cross_attention_dim": 2048, "block_out_channels": (320, 640, 1280), "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20), "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip
FULL_SIZE: dict[str, tuple[Callable[[], torch.nn.Module], str]] = {
    "FLUX.1": (lambda: FluxTransformer2DModel(guidance_embeds=True), "transformer"),
    "Qwen-Image": (QwenImageTransformer2DModel, "transformer"),
    "Z-Image": (ZImageTransformer2DModel, "transformer"),
    "SDXL": (lambda: UNet2DConditionModel(**SDXL_UNET), "unet"),
}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_what_a_plan_reckons_with_in_four_bits_is_what_full_sizes_come_to(figure: Figures, name: str) -> None:
    """Layers by their sizes alone, no weights"""
    make, part = FULL_SIZE[name]
    with init_empty_weights():
        module = make()
    whole = 2 * sum(value.numel() for value in module.parameters())
    taken = sum(one.weight.numel() for place, one in module.named_modules() if is_taken(place, one))
    share = (whole - 2 * taken + taken * (0.5 + 4 / 64)) / whole
    parts = {part: whole, "text_encoder": 1, "text_encoder_2": 1}
    figure(f"{name}: share in 4 bits by its layers", share, at_most=packed(parts, "nf4")[part] / whole * 1.05)
    figure(f"{name}: the plan's over that", packed(parts, "nf4")[part] / whole / share, at_most=1.15)


def test_a_part_comes_back_the_same_to_the_bit(choice: Packing) -> None:
    components = load_components(STARTER, device=CPU, dtype=torch.float32, packing=choice)
    assert components.stay is not None
    part, module = components.stay.parts["unet"], components.unet

    def numbers() -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in plain_weights(module).items()}

    before, taken = numbers(), module_bytes(module)
    assert any(hasattr(value, "qdata") or value.dtype == torch.uint8 for value in module.state_dict().values())
    for way in ("disk", "host"):
        part.move(way)
        assert part.place == way
        if way == "disk":
            assert all(value.is_meta for value in module.parameters())
        part.move("device")
        assert module_bytes(module) == taken
        assert all(torch.equal(before[name], value) for name, value in numbers().items())


@pytest.mark.parametrize(("room", "plan"), [(host(0.246), "one part at a time"), (card(0.246), "text encoder on CPU"), (card(0.21), "in pieces")])
def test_quantised_it_is_laid_in_like_any_other(choice: Packing, quantised: bytes, room: Room, plan: str) -> None:
    own = painter(room, choice)
    for _ in range(2):
        assert picture(own) == quantised
    assert (stay_of(own).plan, stay_of(own).packing) == (plan, choice)


@pytest.mark.parametrize("layout", ["text", "dora", "locon"])
def test_a_lora_and_its_absence_leave_no_trace(choice: Packing, quantised: bytes, tmp_path: Path, layout: str) -> None:
    components = load_components(STARTER, device=CPU, dtype=torch.float32)
    path = write(tmp_path / "text.safetensors", components.unet, components.text_encoder, layout, seed=1)
    for room in (host(4), host(0.246)):
        own, drawn = painter(room, choice), list[bytes]()
        for weight in (0.8, 0.0, 0.8):
            asked = recipe().model_copy(update={"loras": (LoraUse(name="text", weight=weight),)})
            drawn += [one.rgb for one in own.paint(Work("job", asked, STARTER, loras=(path,))) if isinstance(one, Pixels)]
        assert drawn[0] == drawn[2] != drawn[1]
        assert picture(own) == quantised


@pytest.mark.parametrize("room", [host(4), card(4)])
def test_out_of_memory_goes_on_once_with_the_same_numbers(choice: Packing, quantised: bytes, room: Room) -> None:
    own = painter(room, choice)
    before = fit_of(own)
    remove = hooked_once(own, lambda call: call == 2)
    found = messages(own)
    remove()
    assert sum(isinstance(one, BegunAnew) for one in found) == 1
    assert [one.rgb for one in found if isinstance(one, Pixels)] == [quantised]
    assert (picture(own), fit_of(own), stay_of(own).packing) == (quantised, before, choice)


def test_a_first_load_that_runs_out_goes_on_quantised(choice: Packing, quantised: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    import engine.diffusion.painter as room

    own, given = painter(host(4), choice), list[Any]()

    def once(*words: Any, **named: Any) -> Any:
        given.append((named["plan"], named["packing"]))
        if len(given) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return load_components(*words, **named)

    monkeypatch.setattr(room, "load_components", once)
    assert picture(own) == quantised
    assert given == [("whole", choice), ("one part at a time", choice)]


def test_another_choice_lays_the_model_in_anew_at_the_next_picture(choice: Packing, quantised: bytes) -> None:
    """What an operator chooses on the page travels with each work"""
    own = painter(choice="automatic")

    def drawn(chosen: MemoryChoice | None) -> tuple[list[str], bytes]:
        found = list(own.paint(Work("job", recipe(), STARTER, memory=chosen)))
        return loads(found), next(one.rgb for one in found if isinstance(one, Pixels))

    asked: list[MemoryChoice | None] = [None, choice, choice, "parts", "everything", "automatic", "fp8", None]
    got = [drawn(chosen) for chosen in asked]
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
        choice: MemoryChoice = ("int8", "automatic", "nf4", "parts", "fp8")[number % 5]
        list(own.paint(Work("job", recipe(steps=1, width=64), (STARTER, second)[number // 2 % 2], memory=choice)))
        gc.collect()
        sizes_mb.append(resident_mb())
    print("MB after each change:", *(f"{size:.0f}" for size in sizes_mb))
    figure("grown from the 8th to the 20th", sizes_mb[-1] - sizes_mb[7], "MB", at_most=30)


@pytest.mark.parametrize("seed", range(2))
def test_a_body_that_raises_anywhere_leaves_the_budget_right(choice: Packing, quantised: bytes, second: Path, seed: int) -> None:
    rng, own = random.Random(seed), painter(host(0.28), choice)
    for _ in range(5):
        run, stop = own.paint(Work("job", recipe(), rng.choice([STARTER, second]))), rng.randrange(6)
        for number, _ in enumerate(run):
            if number == stop:
                break
        run.close()
        parts = [part for one in own._models.values() if one.stay is not None for part in one.stay.parts.values()]
        assert own._residency.bytes_on("device") == sum(module_bytes(part.module) for part in parts if part.place == "device")
    assert picture(own) == quantised


def test_a_single_file_is_quantised_to_the_same_numbers(choice: Packing, tmp_path: Path) -> None:
    for family in ("sd1", "sdxl"):
        folder, file = make_pair(tmp_path, family)
        drawn = [picture(painter(choice=choice), path) for path in (folder, file)]
        assert drawn[0] == drawn[1]
        assert drawn[0] != picture(painter(choice="automatic"), folder)


@pytest.mark.parametrize("packing", [None, "int8", "nf4"])
def test_a_denoiser_alone_in_a_file_takes_what_it_takes_in_its_folder(packing: Packing | None, tmp_path: Path) -> None:
    """In bfloat16: what the library is not told it makes float32"""
    folder, file = make_family(tmp_path / "flux1", "flux1"), tmp_path / "flux1.safetensors"
    (stored,) = (folder / "transformer").glob("*.safetensors")
    shutil.copy(stored, file)
    one, other = (load_components(path, device=CPU, dtype=torch.bfloat16, packing=packing).parts["transformer"] for path in (folder, file))
    assert module_bytes(one) == module_bytes(other)
    weights, same = plain_weights(one), plain_weights(other)
    assert {value.dtype for value in same.values()} == {torch.bfloat16}
    assert all(torch.equal(value, same[name]) for name, value in weights.items())


@pytest.mark.parametrize(
    ("choice", "package", "requirements"), [("int8", "torchao", "requirements-quantised.txt"), ("nf4", "bitsandbytes", "requirements-nf4.txt")]
)
def test_where_it_cannot_be_had_it_is_refused_in_words_before_anything_is_read(
    choice: MemoryChoice, package: str, requirements: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.diffusion.packing.find_spec", lambda _name: None)
    own = painter(choice=choice)
    with pytest.raises(InvalidRequest, match=f"{package}, which is not installed here") as caught:
        messages(own)
    assert f"pip install -r {requirements}" in caught.value.hint
    assert own._residency.bytes_on("device") == 0


def test_while_it_denoises_each_part_is_where_the_plan_says(choice: Packing) -> None:
    assert places_at_steps(painter(host(0.246), choice)) == {("disk", "device", "disk")}


def test_a_model_in_memory_is_not_said_to_load(choice: Packing) -> None:
    own = painter(choice=choice)
    assert loads(messages(own)) == ["Loading starter"]
    assert loads(messages(own)) == []
