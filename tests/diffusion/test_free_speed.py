"""Speed that costs nothing: words are read once, guidance is one call of the model, previews are packed elsewhere."""

from __future__ import annotations

import gc
import io
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from engine.contract.adapters import LoraUse
from engine.contract.events import Progress
from engine.contract.words import parse_weights
from engine.contract.work import Pixels, Sketch, Stepped, Work
from engine.diffusion.conditioning import Told
from engine.diffusion.device import bfloat16_wins, pick_dtype
from engine.diffusion.loading import Components, load_components
from engine.diffusion.painter import Painter
from engine.diffusion.text import PromptCache, PromptEncoder
from engine.diffusion.voices import LearningVoice
from engine.jobs.hosts.previews import lean, to_jpeg
from engine.jobs.watch import Broadcast
from tests.conftest import STARTER
from tests.diffusion.loras import write
from tests.diffusion.test_laying_in import messages, recipe
from tests.faults.figures import Figures

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def components() -> Components:
    return load_components(STARTER, device=CPU, dtype=torch.float32)


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter(device="cpu", dtype="float32")


@pytest.mark.timed
def test_words_that_were_read_come_back_at_once_and_equal(components: Components, figure: Figures) -> None:
    """A prompt and its negative, read once and asked for again, with one encoder and with another of the same model"""
    cache = PromptCache()
    first = PromptEncoder(components, cache=cache, encoder="a").encode("a red castle at sunset", "blurry")
    again = PromptEncoder(components, cache=cache, encoder="a")
    times: list[float] = []
    for _ in range(50):
        start = time.perf_counter()
        found = again.encode("a red castle at sunset", "blurry")
        times.append(time.perf_counter() - start)
    assert torch.equal(found, first)
    assert torch.equal(PromptEncoder(components).encode("a red castle at sunset", "blurry"), first)
    # The quickest of many: what else the machine does is no part of it.
    figure("a hit", min(times) * 1000, "ms", at_most=1)


def calls_of(module: torch.nn.Module) -> tuple[list[int], Any]:
    """Rows of every call of a module, and what ends the counting."""
    rows: list[int] = []

    def count(_module: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        rows.append(len(next(one for one in (*given, *named.values()) if isinstance(one, torch.Tensor) and one.ndim)))

    return rows, module.register_forward_pre_hook(count, with_kwargs=True)


def test_the_key_knows_encoder_adapters_and_learned_words(components: Components) -> None:
    cache, rows = PromptCache(), list[int]()
    rows, handle = calls_of(components.text_encoder)

    def encode(**key: Any) -> int:
        """Runs of the encoder that this takes."""
        before = len(rows)
        PromptEncoder(components, cache=cache, **key).encode("a castle", None)
        return len(rows) - before

    assert [encode(encoder="a"), encode(encoder="a")] == [1, 0]
    assert [encode(encoder="b"), encode(encoder="b")] == [1, 0]
    assert [encode(encoder="a", adapters=(("style", 0.8),)), encode(encoder="a", adapters=(("style", 0.8),))] == [1, 0]
    assert encode(encoder="a", adapters=(("style", 0.7),)) == 1
    assert isinstance(components.voice, LearningVoice)
    learned = torch.randn(2, *components.voice.widths)
    for digest in ("1", "2"):
        prompts = PromptEncoder(components, cache=cache, encoder="a")
        with prompts.knowing({"moss": learned}, {"moss": digest}):
            before = len(rows)
            prompts.encode("a castle", None)
            prompts.encode("a castle", None)
            assert len(rows) == before + 1
    handle.remove()


def test_the_cache_is_bounded_by_bytes_newest_last() -> None:
    cache, one = PromptCache(limit_bytes=10_000), Told(torch.zeros(1, 77, 8), aside={"pooled": torch.zeros(1, 8)})
    assert one.nbytes == 77 * 8 * 4 + 8 * 4
    for number in range(6):
        cache.put((number,), one)
        cache.get((2,))
    assert cache.bytes == 4 * one.nbytes
    assert len(cache) == 4
    assert [cache.get((number,)) is not None for number in range(6)] == [False, False, True, True, True, True]
    # One that is larger than all of it is not kept, and throws everything else out rather than the bound away.
    cache.put(("large",), Told(torch.zeros(1, 77, 100)))
    assert (cache.bytes, len(cache)) == (0, 0)


def test_a_job_with_a_text_lora_reads_its_words_once(tmp_path: Path, painter: Painter) -> None:
    components, _ = painter.load(STARTER)
    path = write(tmp_path / "text.safetensors", components.unet, components.text_encoder, "text", seed=1)
    rows, handle = calls_of(components.text_encoder)

    def drawn(weight: float) -> bytes:
        asked = recipe(steps=1).model_copy(update={"loras": (LoraUse(name="text", weight=weight),)})
        return next(one.rgb for one in painter.paint(Work("job", asked, STARTER, loras=(path,))) if isinstance(one, Pixels))

    first = drawn(0.8)
    read = len(rows)
    assert drawn(0.8) == first
    assert len(rows) == read
    drawn(-0.8)
    assert len(rows) == 2 * read
    handle.remove()


def test_guidance_is_one_call_with_both_halves(painter: Painter) -> None:
    components, _ = painter.load(STARTER)
    rows, handle = calls_of(components.unet)
    messages(painter, steps=4)
    messages(painter, steps=4, guidance_scale=1.0)
    handle.remove()
    assert rows == [2, 2, 2, 2, 1, 1, 1, 1]


def test_attention_is_the_fused_one(components: Components) -> None:
    assert {type(one).__name__ for one in components.unet.attn_processors.values()} == {"AttnProcessor2_0"}
    assert components.text_encoder.config._attn_implementation == "sdpa"


def test_precision_and_layout_are_the_quick_ones_of_the_device(components: Components) -> None:
    """float16 is emulated on a CPU; bfloat16 only where it was measured to win."""
    assert pick_dtype("auto", CPU) in (torch.float32, torch.bfloat16)
    assert bfloat16_wins(margin=1e9) is False
    assert bfloat16_wins(margin=0) is True
    assert components.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert components.vae.decoder.layers[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.timed
def test_previews_leave_the_device_as_a_few_pixels(painter: Painter, components: Components, figure: Figures) -> None:
    """What a step waits for, 256 × 256: the sketch beside the picture file, and beside the step itself"""
    found = [one for one in messages(painter, width=256, height=256, steps=2) if isinstance(one, Stepped)]
    assert all(isinstance(one.preview, Sketch) for one in found)
    latents = torch.randn(components.latent_channels, 32, 32)
    sketch = components.preview.sketch(latents)
    assert (sketch.width, sketch.height, len(sketch.rgb), sketch.edge) == (32, 32, 32 * 32 * 3, 256)
    step = quickest(lambda: components.unet(latents[None].repeat(2, 1, 1, 1), 500, torch.zeros(2, 77, components.text_encoder.config.hidden_size)), 5)
    taken = quickest(lambda: components.preview.sketch(latents), 50)
    print(f"the sketch {taken * 1000:.2f} ms, its file {quickest(lambda: to_jpeg(sketch), 20) * 1000:.2f} ms, a model call {step * 1000:.0f} ms")
    figure("previews, share of a step", taken / step * 100, "%", at_most=3)


def quickest(act: Any, times: int) -> float:
    taken: list[float] = []
    gc.disable()
    try:
        with torch.inference_mode():
            for _ in range(times):
                start = time.perf_counter()
                act()
                taken.append(time.perf_counter() - start)
    finally:
        gc.enable()
    return min(taken)


_SKETCH = Sketch(32, 16, bytes(range(256)) * 6, 256)


def test_a_sketch_goes_on_only_where_nothing_newer_waits() -> None:
    stepped = Stepped(0, 1, 4, _SKETCH)
    assert lean(stepped, is_newest=True) is stepped
    assert lean(stepped, is_newest=False) == Stepped(0, 1, 4, None)
    pixels = Pixels(0, 1, 1, b"abc", 0.1)
    assert lean(pixels, is_newest=False) is pixels


def test_a_sketch_becomes_a_file_once_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Sketch] = []

    def count(sketch: Sketch) -> bytes:
        made.append(sketch)
        return to_jpeg(sketch)

    monkeypatch.setattr("engine.jobs.watch.to_jpeg", count)
    broadcast, step = Broadcast(), Progress("job", 0, 1, 1, 4, None)
    counting = broadcast.join(sees_previews=False)
    broadcast.send(step, _SKETCH)
    assert counting.take() == step
    assert made == []
    # Whoever comes later sees the newest one at once; all of them one file.
    pages = broadcast.join(), broadcast.join()
    shown = [page.take() for page in pages]
    assert shown[0] is shown[1]
    assert isinstance(shown[0], Progress)
    assert shown[0].preview is not None
    with Image.open(io.BytesIO(shown[0].preview)) as image:
        assert (image.format, image.size) == ("JPEG", (256, 128))
    broadcast.send(step, _SKETCH)
    assert all(page.take() == shown[0] for page in pages)
    assert made == [_SKETCH, _SKETCH]


def test_words_of_a_cached_prompt_are_told_in_their_own_length(components: Components) -> None:
    """A long negative makes the prompt longer too: both lengths are remembered apart."""
    prompts = PromptEncoder(components)
    short = prompts.encode("a castle", None)
    long = prompts.encode("a castle", "blurry " * 100)
    assert long.shape[1] > short.shape[1]
    assert torch.equal(prompts.encode("a castle", None), short)
    assert parse_weights("a castle")
