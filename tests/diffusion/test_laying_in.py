"""Models within a budget: every plan draws the picture it is to draw, what comes back is what went, and nothing grows.

There is no GPU here. A device with a memory of its own is stood in for by the CPU: parts really are moved, emptied,
streamed and read again, only the copy between two memories is none.
"""

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

from engine.contract.adapters import LoraUse
from engine.contract.memory import Memory, MemoryChoice, Plan, Room
from engine.contract.recipe import Recipe
from engine.contract.work import BegunAnew, HostMessage, Loads, Pixels, Stepped, Work
from engine.diffusion.latents import decode
from engine.diffusion.loading import Components, load_components
from engine.diffusion.painter import Painter
from engine.diffusion.parts import Stay, adopt, empty, module_bytes
from tests.conftest import STARTER
from tests.diffusion.loras import write
from tests.faults.figures import Figures
from tests.studio import resident_mb

GB = 1024**3
CPU = torch.device("cpu")


def host(gb: float) -> Room:
    return Room("this computer", int(gb * GB), is_host=True)


def card(gb: float) -> Room:
    return Room("card", int(gb * GB), is_host=False)


def painter(room: Room | None = None, choice: MemoryChoice = "automatic") -> Painter:
    return Painter(device="cpu", dtype="float32", previews=False, memory=Memory(choice=choice), room=room)


def recipe(**fields: Any) -> Recipe:
    usual = {
        "model": "starter", "model_hash": "", "prompt": "a red castle", "negative_prompt": "blurry", "steps": 3, "guidance_scale": 4.0,
        "scheduler": "dpmpp_2m", "width": 96, "height": 64, "seed": 3, "count": 1,
    }  # fmt: skip
    return Recipe(**usual | fields)


def messages(painter: Painter, folder: Path = STARTER, *, loras: tuple[Path, ...] = (), **fields: Any) -> list[HostMessage]:
    return list(painter.paint(Work("job", recipe(**fields), folder, loras=loras)))


def picture(painter: Painter, folder: Path = STARTER, **fields: Any) -> bytes:
    return next(one.rgb for one in messages(painter, folder, **fields) if isinstance(one, Pixels))


def loads(found: list[HostMessage]) -> list[str]:
    return [one.what for one in found if isinstance(one, Loads)]


def stay_of(painter: Painter, folder: Path = STARTER) -> Stay:
    stay = painter._models[folder].stay
    assert stay is not None
    return stay


@pytest.fixture(scope="module")
def plain() -> bytes:
    return picture(painter())


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(STARTER, tmp_path_factory.mktemp("models") / "second"))


# Gigabytes in which the starter, 71 MB in float32, fits only in this way.
@pytest.mark.parametrize(
    ("room", "choice", "plan"),
    [
        (host(4), "automatic", "whole"),
        (host(0.255), "automatic", "one part at a time"),
        (host(4), "parts", "one part at a time"),
        (card(4), "automatic", "whole"),
        (card(0.26), "automatic", "text encoder on CPU"),
        (card(0.2525), "automatic", "one part at a time"),
        (card(0.21), "automatic", "in pieces"),
        (card(0.1), "everything", "whole"),
    ],
)
def test_every_plan_draws_the_same_picture(plain: bytes, room: Room, choice: MemoryChoice, plan: Plan) -> None:
    own = painter(room, choice)
    assert picture(own) == plain
    assert stay_of(own).plan == plan
    # Again, now that its parts are where the plan leaves them; and other words, which have to be read.
    assert picture(own) == plain
    assert picture(own, prompt="a blue boat") != plain
    assert picture(own) == plain


def places_at_steps(own: Painter) -> set[tuple[str, ...]]:
    """Where text encoder, denoiser and autoencoder are while it denoises."""
    seen: set[tuple[str, ...]] = set()
    for message in own.paint(Work("job", recipe(), STARTER)):
        if isinstance(message, Stepped):
            parts = stay_of(own).parts
            seen.add(tuple(parts[name].place for name in ("text_encoder", "unet", "vae")))
    return seen


@pytest.mark.parametrize(
    ("room", "choice", "places"),
    [
        (host(4), "automatic", ("device", "device", "device")),
        (host(4), "parts", ("disk", "device", "disk")),
        (card(4), "automatic", ("device", "device", "device")),
        (card(4), "encoders-on-cpu", ("host", "device", "device")),
        (card(0.2525), "automatic", ("host", "device", "host")),
    ],
)
def test_while_it_denoises_each_part_is_where_the_plan_says(room: Room, choice: MemoryChoice, places: tuple[str, ...]) -> None:
    assert places_at_steps(painter(room, choice)) == {places}


def test_models_that_fit_together_stay(second: Path) -> None:
    """A, B and A again: the second time nothing is read."""
    own = painter(host(4))
    assert loads(messages(own)) == ["Loading starter"]
    weights = own._models[STARTER].unet.conv_in.weight
    assert loads(messages(own, second)) == ["Loading starter"]
    assert loads(messages(own)) == []
    assert loads(messages(own, second)) == []
    assert own._models[STARTER].unet.conv_in.weight is weights


def test_a_small_budget_keeps_one_and_changes_nothing(plain: bytes, second: Path) -> None:
    own = painter(host(0.28))
    for _ in range(3):
        assert picture(own) == plain
        assert picture(own, second) == plain
    # Its budget less the room to work in holds one of the two.
    assert own._residency.bytes_on("device") <= 0.28 * GB - 200 * 1024**2


def test_a_model_that_is_not_in_memory_says_that_it_loads(second: Path) -> None:
    own = painter(host(0.28))
    messages(own)
    messages(own, second)
    assert loads(messages(own)) == ["Loading starter"]


def test_twenty_changes_of_model_leave_memory_flat(second: Path, figure: Figures) -> None:
    """Two models in turn, 20 times, in a budget that holds one"""
    own, sizes_mb = painter(host(0.28)), list[float]()
    for number in range(20):
        picture(own, (STARTER, second)[number % 2], steps=1, width=64)
        gc.collect()
        sizes_mb.append(resident_mb())
    print("MB after each change:", *(f"{size:.0f}" for size in sizes_mb))
    figure("grown from the 4th to the 20th", sizes_mb[-1] - sizes_mb[3], "MB", at_most=30)


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
def test_what_comes_back_is_what_went_to_the_bit(part: str) -> None:
    components = load_components(STARTER, device=CPU, dtype=torch.float32)
    module, before = components.parts[part], {name: value.clone() for name, value in components.parts[part].state_dict().items()}
    layouts = {name: value.stride() for name, value in module.state_dict().items()}
    taken = module_bytes(module)
    assert components.stay is not None
    kept = components.stay.parts[part]
    kept.move("disk")
    assert all(value.is_meta for value in module.parameters())
    kept.move("device")
    assert module_bytes(module) == taken
    after = module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    # Laid out alike too: sums in another order would be other numbers.
    assert {name: value.stride() for name, value in after.items()} == layouts
    assert not any(value.is_inference() for value in module.parameters())


@pytest.mark.parametrize("before", ["host", "disk"])
def test_a_part_that_cannot_come_is_where_it_was(before: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device takes half of it and no more."""
    components = load_components(STARTER, device=CPU, dtype=torch.float32)
    assert components.stay is not None
    part, reads = components.stay.parts["vae"], list[torch.device]()
    again = part._load
    part.move(before)

    def fail(*_given: Any, **_named: Any) -> None:
        reads.append(CPU)
        if len(reads) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(part, "_load", fail)
    monkeypatch.setattr(part.module, "to", fail)
    with pytest.raises(torch.OutOfMemoryError):
        part.move("device")
    assert part.place == before
    # From the device it was taken back; from disk nothing had come.
    assert len(reads) == (2 if before == "host" else 1)
    monkeypatch.setattr(part, "_load", again)
    monkeypatch.undo()
    part.move("device")
    assert not next(part.module.parameters()).is_meta


def test_weights_that_are_shared_stay_shared() -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(10, 4)
            self.out = torch.nn.Linear(4, 10, bias=False)
            self.out.weight = self.words.weight
            self.register_buffer("place", torch.arange(4), persistent=False)

    shell, fresh = Tied(), Tied()
    assert module_bytes(shell) == 10 * 4 * 4 + 4 * 8
    empty(shell)
    assert shell.words.weight.is_meta
    assert shell.place.is_meta
    adopt(shell, fresh)
    assert shell.out.weight is shell.words.weight is fresh.words.weight
    assert torch.equal(shell.place, torch.arange(4))


def test_a_lora_in_both_parts_lasts_while_they_come_and_go(tmp_path: Path) -> None:
    components = load_components(STARTER, device=CPU, dtype=torch.float32)
    path = write(tmp_path / "text.safetensors", components.unet, components.text_encoder, "text", seed=1)
    uses: dict[str, Any] = {"loras": (path,)}
    fields: dict[str, Any] = {"prompt": "[a red:a blue:0.5] castle"}

    def drawn(own: Painter) -> bytes:
        work = Work("job", recipe(**fields).model_copy(update={"loras": (LoraUse(name="text", weight=0.8),)}), STARTER, **uses)
        return next(one.rgb for one in own.paint(work) if isinstance(one, Pixels))

    whole = painter()
    expected, bare = drawn(whole), picture(whole, **fields)
    assert expected != bare
    for room, choice in ((host(4), "parts"), (card(0.2525), "automatic"), (card(0.21), "automatic")):
        own = painter(room, choice)
        assert drawn(own) == expected
        assert picture(own, **fields) == bare


def test_eight_bits_take_half_and_draw_nearly_the_same(figure: Figures) -> None:
    """The denoiser in 8 bits beside bfloat16, 128 × 128 in 8 steps"""
    asked: dict[str, Any] = {"width": 128, "height": 128, "steps": 8}
    sizes: dict[str, int] = {}
    drawn: dict[str, np.ndarray[Any, Any]] = {}
    for choice in ("automatic", "fp8"):
        own = Painter(device="cpu", dtype="bfloat16", previews=False, memory=Memory(choice=choice))
        drawn[choice] = np.frombuffer(picture(own, **asked), np.uint8).astype(float)
        sizes[choice] = stay_of(own).parts["unet"].bytes
        # What was let go and read again is in 8 bits too.
        assert np.array_equal(np.frombuffer(picture(own, **asked), np.uint8), drawn[choice])
    figure("share of the denoiser's bytes", sizes["fp8"] / sizes["automatic"], at_most=0.55)
    difference = np.abs(drawn["fp8"] - drawn["automatic"])
    figure("mean difference", float(difference.mean()), "of 255", at_most=8)
    assert difference.any()


def hooked_once(painter: Painter, raises: Callable[[int], bool]) -> Callable[[], None]:
    """The denoiser runs out of memory at these calls; returns what takes that off again."""
    calls = 0

    def count(_module: torch.nn.Module, _given: Any, _answer: Any) -> None:
        nonlocal calls
        calls += 1
        if raises(calls):
            raise torch.OutOfMemoryError("CUDA out of memory")

    components, _ = painter.load(STARTER)
    return components.unet.register_forward_hook(count).remove


@pytest.mark.parametrize(
    ("room", "sentence"),
    [
        (host(4), "Ran out of memory; went on with one part of the model at a time."),
        (card(4), "Ran out of memory; went on with the text encoder on the CPU."),
        (card(0.26), "Ran out of memory; went on with one part of the model at a time."),
        (card(0.2525), "Ran out of memory; went on with the model in pieces."),
    ],
)
def test_out_of_memory_goes_on_once_under_a_lighter_plan(room: Room, sentence: str) -> None:
    expected = [one.rgb for one in messages(painter(), count=2) if isinstance(one, Pixels)]
    own = painter(room)
    before = fit_of(own)
    # In the second picture: the first is not drawn again.
    remove = hooked_once(own, lambda call: call == 5)
    found = messages(own, count=2)
    remove()
    assert [one.what for one in found if isinstance(one, BegunAnew)] == [sentence]
    assert [(one.picture, one.rgb) for one in found if isinstance(one, Pixels)] == [(0, expected[0]), (1, expected[1])]
    # Only for that work.
    assert picture(own) == picture(painter())
    assert fit_of(own) == before


def fit_of(own: Painter) -> Plan:
    own.load(STARTER)
    return stay_of(own).plan


@pytest.mark.parametrize("seed", range(3))
def test_a_body_that_raises_anywhere_leaves_the_budget_right(plain: bytes, second: Path, seed: int) -> None:
    rng, own = random.Random(seed), painter(host(0.28))
    for _ in range(6):
        folder = rng.choice([STARTER, second])
        run, stop = own.paint(Work("job", recipe(), folder)), rng.randrange(6)
        for number, _ in enumerate(run):
            if number == stop:
                if rng.random() < 0.5:
                    with pytest.raises(ZeroDivisionError):
                        run.throw(ZeroDivisionError())
                break
        run.close()
        told = own._residency.bytes_on("device")
        found = sum(module_bytes(part.module) for one in own._models.values() for part in parts_of(one) if not next(part.module.parameters()).is_meta)
        assert told == found
        assert told <= 0.28 * GB
    assert picture(own) == plain


def parts_of(components: Components) -> list[Any]:
    assert components.stay is not None
    return list(components.stay.parts.values())


def test_large_pictures_are_decoded_in_tiles_without_a_seam(figure: Figures) -> None:
    """512 × 320 decoded in tiles beside whole"""
    components = load_components(STARTER, device=CPU, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, components.latent_channels, 5, 8, generator=generator)
    latents = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bicubic")
    with torch.inference_mode():
        whole = decode(components, latents)
        calls: list[tuple[int, ...]] = []
        handle = components.vae.decoder.register_forward_hook(lambda _module, given, _answer: calls.append(tuple(given[0].shape[2:])))
        tiled = decode(components, latents, spare_bytes=256 * 256 * 1152)
        count, sizes = len(calls), set(calls)
        assert torch.equal(decode(components, latents, spare_bytes=512 * 320 * 1152), whole)
        handle.remove()
    assert len(calls) == count + 1
    assert sizes == {(32, 32)}
    difference = (tiled - whole).abs() * 127.5
    figure("largest difference", float(difference.max()), "of 255", at_most=1)
