"""What the device does wrong: no memory, numbers that make no picture. Told in words, and the next picture is what it always was."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from engine import BadNumbers, Cancelled, Engine, Failed, Finished, Loading, OutOfMemory, Progress, TextToImage
from engine.diffusion.loading import Components
from engine.diffusion.painter import Painter
from engine.jobs.hosts.inline import InlineHost
from tests.conftest import OWNER, events_of
from tests.faults.figures import Figures
from tests.studio import resident_mb
from ui.stream import stage_view

Make = Callable[..., TextToImage]


def components_of(engine: Engine) -> Components:
    """The model that an engine that draws in this process used last."""
    return next(reversed(painter_of(engine)._models.values()))


def painter_of(engine: Engine) -> Painter:
    (host,) = engine._hosts
    assert isinstance(host, InlineHost)
    assert host._painter is not None
    return host._painter


@contextmanager
def hooked(module: torch.nn.Module, hook: Callable[[int, Any], Any]) -> Iterator[list[int]]:
    """`hook(number of the call, answer)` stands behind each call of a module; what it returns replaces the answer. Yields the calls so far."""
    calls = [0]

    def count(_module: torch.nn.Module, _given: Any, answer: Any) -> Any:
        calls[0] += 1
        return hook(calls[0], answer)

    handle = module.register_forward_hook(count)
    try:
        yield calls
    finally:
        handle.remove()


def draw(engine: Engine, request: TextToImage) -> bytes:
    """The pixels of a picture that is drawn without any harm."""
    ending = events_of(engine, engine.submit(request, OWNER).id)[-1]
    assert isinstance(ending, Finished), ending
    with Image.open(ending.pictures[0].path) as image:
        return image.tobytes()


def written(folder: Path) -> int:
    return sum(path.is_file() for path in (folder / "images").rglob("*"))


@pytest.mark.fault("out of memory")
def test_no_memory_at_any_step_is_said_with_advice_and_leaves_nothing(
    inline_engine: Engine, request_of: Make, tmp_path: Path, figure: Figures
) -> None:
    """No memory from a random step on, 20 times, so that the lighter try fails too; each leaves 32 MB in the frame that raises"""
    before, rng = draw(inline_engine, request_of()), random.Random(6)
    advised, sizes_mb = 0, []
    unet = components_of(inline_engine).unet
    for _ in range(20):
        at = rng.randrange(1, 7)

        def raise_at(call: int, _answer: Any, at: int = at) -> None:
            # What a traceback would keep alive, if anybody kept the traceback.
            ballast = torch.ones(8 * 2**20)
            if call >= at:
                raise torch.OutOfMemoryError(f"CUDA out of memory beside {ballast.nbytes} bytes")

        with hooked(unet, raise_at):
            ending = events_of(inline_engine, inline_engine.submit(request_of(steps=6, width=128, height=192), OWNER).id)[-1]
        assert isinstance(ending, Failed)
        assert isinstance(ending.error, OutOfMemory)
        assert ending.error.field == "width"
        advised += ending.error.hint == "Try 64 × 128."
        del ending
        # What nobody holds any more is no leak.
        gc.collect()
        sizes_mb.append(resident_mb())
    figure("failures with advice", advised, "of 20", equals=20)
    figure("grown by", sizes_mb[-1] - sizes_mb[0], "MB", at_most=64)
    figure("pictures kept", written(tmp_path), equals=1)
    assert draw(inline_engine, request_of()) == before


@pytest.mark.fault("out of memory")
def test_one_lighter_try_draws_the_same_picture_and_says_so(inline_engine: Engine, request_of: Make, tmp_path: Path, figure: Figures) -> None:
    """No memory at a random step, once, 10 times: the job goes on under a lighter plan, to the same bytes"""
    before, rng, same, said = draw(inline_engine, request_of()), random.Random(3), 0, 0
    sentence = "Ran out of memory; went on with one part of the model at a time."
    for _ in range(10):
        at = rng.randrange(1, 5)

        def raise_at(call: int, _answer: Any, at: int = at) -> None:
            if call == at:
                raise torch.OutOfMemoryError("CUDA out of memory")

        with hooked(components_of(inline_engine).unet, raise_at):
            events = events_of(inline_engine, inline_engine.submit(request_of(), OWNER).id)
        ending = events[-1]
        assert isinstance(ending, Finished), ending
        said += ending.note == sentence and any(isinstance(event, Loading) and event.what == sentence for event in events)
        assert stage_view(ending, b"", ending.pictures[0].recipe)["text"].endswith(f". {sentence}")
        with Image.open(ending.pictures[0].path) as image:
            same += image.tobytes() == before
    figure("same pictures", same, "of 10", equals=10)
    figure("told in a sentence", said, "of 10", equals=10)
    ending = events_of(inline_engine, inline_engine.submit(request_of(), OWNER).id)[-1]
    assert isinstance(ending, Finished)
    assert ending.note == ""


def test_advice_is_never_a_picture_without_pixels(inline_engine: Engine, request_of: Make) -> None:
    def raise_it(_call: int, _answer: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    draw(inline_engine, request_of())
    with hooked(components_of(inline_engine).unet, raise_it):
        ending = events_of(inline_engine, inline_engine.submit(request_of(), OWNER).id)[-1]
    assert isinstance(ending, Failed)
    assert "0 ×" not in ending.error.hint
    assert "device" in ending.error.hint


@pytest.mark.fault("bad numbers")
@pytest.mark.parametrize("at", [1, 4, 8])
def test_numbers_that_make_no_picture_end_the_job_at_once(inline_engine: Engine, request_of: Make, tmp_path: Path, at: int, figure: Figures) -> None:
    """NaN out of the model at step 1, 4 and 8 of 8"""
    before = draw(inline_engine, request_of())

    def spoil(call: int, answer: Any) -> Any:
        if call == at:
            answer[0][0, 0, 0, 3] = float("nan")
        return answer

    with hooked(components_of(inline_engine).unet, spoil) as calls:
        ending = events_of(inline_engine, inline_engine.submit(request_of(steps=8), OWNER).id)[-1]
    assert isinstance(ending, Failed)
    assert isinstance(ending.error, BadNumbers)
    assert ending.error.field == "guidance_scale"
    figure("steps after it", calls[0] - at, equals=0)
    figure("pictures kept", written(tmp_path), equals=1)
    assert draw(inline_engine, request_of()) == before


@pytest.mark.fault("bad numbers")
def test_a_decoder_that_overflows_is_asked_once_more_in_float32(inline_engine: Engine, request_of: Make, figure: Figures) -> None:
    """Overflow in the decoder, once: tried again in float32"""
    before = draw(inline_engine, request_of())
    seen: list[torch.dtype] = []

    def overflow(call: int, answer: torch.Tensor) -> torch.Tensor:
        seen.append(answer.dtype)
        return answer * float("inf") if call == 1 else answer

    with hooked(components_of(inline_engine).vae.decoder, overflow):
        after = draw(inline_engine, request_of())
    figure("times decoded", len(seen), equals=2)
    assert seen[-1] == torch.float32
    assert after == before


@pytest.mark.fault("bad numbers")
def test_a_decoder_that_always_overflows_gives_no_black_picture(inline_engine: Engine, request_of: Make, tmp_path: Path, figure: Figures) -> None:
    """Overflow in the decoder, always: an error, no picture"""
    before = draw(inline_engine, request_of())
    with hooked(components_of(inline_engine).vae.decoder, lambda _call, answer: answer * float("nan")) as calls:
        ending = events_of(inline_engine, inline_engine.submit(request_of(), OWNER).id)[-1]
    assert isinstance(ending, Failed)
    assert isinstance(ending.error, BadNumbers)
    figure("times decoded", calls[0], equals=2)
    figure("black pictures kept", written(tmp_path) - 1, equals=0)
    assert draw(inline_engine, request_of()) == before


@pytest.mark.fault("stop")
def test_stop_at_random_steps(inline_engine: Engine, request_of: Make, tmp_path: Path, figure: Figures) -> None:
    """Stop at a random step, 10 times; model calls are counted behind the page's back"""
    before, rng, late, told = draw(inline_engine, request_of()), random.Random(2), [], 0
    with hooked(components_of(inline_engine).unet, lambda _call, answer: answer) as calls:
        for _ in range(10):
            at, calls[0] = rng.randrange(1, 60), 0
            job = inline_engine.submit(request_of(steps=150), OWNER)
            with inline_engine.watch(job.id, owner=OWNER) as watch:
                next(event for event in watch if isinstance(event, Progress) and event.step >= at)
                assert inline_engine.cancel(job.id, owner=OWNER)
                stopped = calls[0]
                ending = list(watch)[-1]
            assert isinstance(ending, Cancelled)
            late.append(calls[0] - stopped)
            told += ending.step == calls[0] == inline_engine._journal.get(job.id).steps_done
    figure("steps begun after Stop", max(late), at_most=1)
    figure("true step counts", told, "of 10", equals=10)
    figure("pictures kept", written(tmp_path), equals=1)
    assert draw(inline_engine, request_of()) == before
