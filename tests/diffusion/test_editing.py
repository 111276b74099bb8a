"""Editing by a sentence through the one loop, against diffusers' own pipeline of that family, on the same tiny parts in float32."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.flux.pipeline_flux_kontext import PREFERRED_KONTEXT_RESOLUTIONS
from diffusers.pipelines.flux2.image_processor import Flux2ImageProcessor
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus
from PIL import Image

from engine.contract.editing import EDITORS, KONTEXT_SIZES, about_area, klein_size, kontext_size
from engine.contract.errors import InvalidRequest
from engine.contract.families import guidance_kind
from engine.contract.recipe import Recipe
from engine.diffusion.freezing import freeze, thaw
from engine.diffusion.images import Rgb, to_pixels
from engine.diffusion.latents import decode
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.edit import as_seen, edit
from engine.diffusion.text import PromptEncoder
from engine.jobs.hosts.previews import to_jpeg
from tests.diffusion.families import make_family, pipeline

BOUND = 1e-5
WIDTH, HEIGHT = 64, 96


@dataclass(frozen=True)
class Made:
    """A tiny model: its family, the pipeline that it was made for, its options, and the most pictures that it looks at here.

    `sees_small`: both sides look at pictures of 128² pixels instead of 1024²; the others are run at their true sizes.
    """

    family: str
    pipeline: str
    pictures: int = 1
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    sees_small: bool = False


MODELS = {
    "Kontext": Made("flux1", "edit"),
    "Kontext without guidance": Made("flux1", "edit", options={"guidance_embeds": False}),
    "klein": Made("flux2", "edit", pictures=2),
    "Qwen-Image-Edit": Made("qwen", "edit"),
    "Qwen-Image-Edit Plus": Made("qwen", "edit plus", pictures=2, sees_small=True),
    # The one of November 2025 takes what it looks at for clean, whatever the step.
    "Qwen-Image-Edit 2511": Made("qwen", "edit plus", pictures=2, sees_small=True, options={"zero_cond_t": True}),
}
_SMALL = 128 * 128
_LOADED: dict[str, Components] = {}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    _LOADED.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_qwenimage_edit_plus, "VAE_IMAGE_SIZE", _SMALL)
        yield tmp_path_factory.mktemp("editors")


def model(room: Path, name: str) -> Components:
    if name not in _LOADED:
        made = MODELS[name]
        folder = make_family(room / name, made.family, made_for=made.pipeline, **made.options)
        components = load_components(folder, device=torch.device("cpu"), dtype=torch.float32)
        if made.sees_small and components.editor is not None:
            components = replace(components, editor=replace(components.editor, looks_at=lambda size: about_area(size, _SMALL)))
        _LOADED[name] = components
    return _LOADED[name]


def pictures(count: int, *, first: int = 0) -> tuple[Rgb, ...]:
    """Of different shapes, none in whole patches."""
    return tuple(np.random.default_rng(first + k).integers(0, 256, (90 + 30 * k, 70, 3), dtype=np.uint8) for k in range(count))


def recipe(components: Components, shown: int, **own: Any) -> Recipe:
    kind = guidance_kind(components.family.key, components.network.config)
    values: dict[str, Any] = {
        "mode": "edit", "source": "0" * 64, "pictures": tuple(str(k) * 64 for k in range(1, shown)) or None, "prompt": "make it a red castle",
        # klein's pipeline always says nothing there.
        "negative_prompt": "" if components.family.key == "flux2" else "blurry", "model": "tiny", "model_hash": "", "steps": 2, "guidance_scale": 3.0,
        "scheduler": "flow_euler", "width": WIDTH, "height": HEIGHT, "seed": 11, "count": 1, "guidance_kind": None if kind == "cfg" else kind,
    }  # fmt: skip
    return Recipe(**{**values, **own})


def theirs(components: Components, made: Made, asked: Recipe, shown: tuple[Rgb, ...]) -> torch.Tensor:
    """What diffusers' pipeline draws, (B, 3, H, W) in 0 to 1."""
    images = [Image.fromarray(one) for one in shown]
    given: dict[str, Any] = {
        "image": images[0] if len(images) == 1 else images, "prompt": asked.prompt, "num_inference_steps": asked.steps, "width": asked.width,
        "height": asked.height, "num_images_per_prompt": asked.count, "output_type": "pt",
        "generator": [torch.Generator().manual_seed(asked.seed + k) for k in range(asked.count)],
    }  # fmt: skip
    if made.family == "qwen":
        given |= {"true_cfg_scale": asked.guidance_scale} | ({"negative_prompt": asked.negative_prompt} if asked.guidance_scale > 1 else {})
    else:
        given["guidance_scale"] = asked.guidance_scale
    if made.family == "flux1":
        given["max_area"] = asked.width * asked.height
    return pipeline(components, made.pipeline)(**given).images


def drawn(components: Components, asked: Recipe, shown: tuple[Rgb, ...]) -> torch.Tensor:
    *_, last = edit(components, PromptEncoder(components), asked, shown)
    with torch.inference_mode():
        return (decode(components, last.latents) / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize(("name", "shown"), [(name, count) for name, made in MODELS.items() for count in range(1, made.pictures + 1)])
def test_an_edit_equals_diffusers(room: Path, name: str, shown: int) -> None:
    components = model(room, name)
    # At its true size Qwen-Image-Edit takes its time.
    asked, seen = recipe(components, shown, steps=1 if name == "Qwen-Image-Edit" else 2), pictures(shown)
    difference = float((drawn(components, asked, seen) - theirs(components, MODELS[name], asked, seen)).abs().max())
    print(f"{name}, {shown} pictures: largest difference {difference:.1e} of pixels in 0 to 1")
    assert difference <= BOUND


@pytest.mark.parametrize("name", ["klein", "Qwen-Image-Edit Plus"])
def test_without_guidance_it_runs_once_a_step(room: Path, name: str) -> None:
    components = model(room, name)
    asked, seen = recipe(components, 1, guidance_scale=1.0), pictures(1)
    rows: list[int] = []
    handle = components.network.register_forward_pre_hook(lambda *_: rows.append(1))
    ours = drawn(components, asked, seen)
    handle.remove()
    assert float((ours - theirs(components, MODELS[name], asked, seen)).abs().max()) <= BOUND
    assert len(rows) == asked.steps


@pytest.mark.parametrize("name", ["klein", "Qwen-Image-Edit Plus"])
def test_a_model_in_half_precision_edits_too(room: Path, name: str) -> None:
    whole = model(room, name)
    half = load_components(whole.folder, device=torch.device("cpu"), dtype=torch.bfloat16)
    asked, seen = recipe(half, 1, steps=1), pictures(1)
    *_, last = edit(replace(half, editor=whole.editor), PromptEncoder(half), asked, seen)
    assert last.latents.dtype == torch.float32
    *_, exact = edit(whole, PromptEncoder(whole), asked, seen)
    assert float((last.latents - exact.latents).abs().mean() / exact.latents.abs().mean()) < 0.1


@pytest.mark.parametrize("name", ["Kontext", "klein"])
def test_a_batch_equals_diffusers(room: Path, name: str) -> None:
    components = model(room, name)
    asked, seen = recipe(components, 1, count=2), pictures(1)
    assert float((drawn(components, asked, seen) - theirs(components, MODELS[name], asked, seen)).abs().max()) <= BOUND


def test_each_picture_and_their_order_count(room: Path) -> None:
    """What the bound above is worth: another source, one picture more, and the same two changed round draw other pictures."""
    components = model(room, "klein")
    one, other = pictures(2)
    made = [drawn(components, recipe(components, len(seen)), seen) for seen in ((one,), (other,), (one, other), (other, one))]
    for number, first in enumerate(made):
        assert all(float((first - second).abs().max()) > 100 * BOUND for second in made[number + 1 :])


@pytest.mark.parametrize("name", ["Kontext", "klein"])
def test_an_edit_that_was_put_aside_goes_on_bit_for_bit(room: Path, name: str, tmp_path: Path) -> None:
    components = model(room, name)
    asked, seen = recipe(components, 1, steps=4), pictures(1)
    whole = [step.latents.clone() for step in edit(components, PromptEncoder(components), asked, seen)]
    walk = edit(components, PromptEncoder(components), asked, seen)
    step = [next(walk) for _ in range(2)][-1]
    file = tmp_path / "frozen.safetensors"
    file.write_bytes(freeze(step.walk, step.latents, picture=0, index=step.index, step=2))
    frozen = thaw(file, components.device)
    assert frozen is not None
    rest = [step.latents.clone() for step in edit(components, PromptEncoder(components), asked, seen, frozen=frozen)]
    assert len(rest) == 2
    assert torch.equal(rest[-1], whole[-1])


def test_the_last_preview_is_the_picture(room: Path) -> None:
    components = model(room, "klein")
    *_, last = edit(components, PromptEncoder(components), recipe(components, 1, steps=12), pictures(1))
    assert float((last.denoised - last.latents).abs().max()) < 1e-4
    assert Image.open(io.BytesIO(to_jpeg(components.preview.sketch(last.denoised[0])))).size[0] >= 64


def test_the_encoder_reads_a_sentence_once_in_front_of_the_same_pictures(room: Path) -> None:
    """It sees: in front of other pictures the same words are said anew, and without pictures they are the plain ones."""
    components = model(room, "Qwen-Image-Edit Plus")
    prompts, (one, other) = PromptEncoder(components), pictures(2)
    runs: list[int] = []
    handle = components.text_encoder.register_forward_pre_hook(lambda *_: runs.append(1))
    said: list[torch.Tensor] = []
    for shown, names in (((one,), ("a",)), ((one,), ("a",)), ((other,), ("b",)), ((one, other), ("a", "b"))):
        with prompts.before(shown, names):
            said.append(prompts.encode("make it night", None))
    said.append(prompts.encode("make it night", None))
    handle.remove()
    assert len(runs) == 4
    assert torch.equal(said[0], said[1])
    assert not torch.equal(said[0], said[2])
    assert said[3].shape[1] > said[2].shape[1] > said[4].shape[1]


@pytest.mark.parametrize("mark", ["<|image_pad|>", "<|video_pad|>"])
def test_a_mark_for_a_picture_cannot_be_written(room: Path, mark: str) -> None:
    components = model(room, "Qwen-Image-Edit")
    with pytest.raises(InvalidRequest, match="stands for a picture") as caught:
        next(edit(components, PromptEncoder(components), recipe(components, 1, prompt=f"a castle {mark}"), pictures(1)))
    assert caught.value.field == "prompt"


def test_a_model_that_cannot_edit_says_so(room: Path) -> None:
    components = load_components(make_family(room / "plain", "flux1"), device=torch.device("cpu"), dtype=torch.float32)
    with pytest.raises(InvalidRequest, match=r"needs FLUX\.1 Kontext"):
        next(edit(components, PromptEncoder(components), recipe(components, 1), pictures(1)))


SIZES = [(width, height) for width in (64, 70, 333, 512, 1024, 1600, 2000) for height in (64, 90, 257, 768, 1025, 1999) if max(width / height, height / width) <= 8]  # fmt: skip


def test_sizes_are_those_of_diffusers() -> None:
    """Every size, and the bytes of a picture at it, as their image processors make them."""
    assert set(KONTEXT_SIZES) == set(PREFERRED_KONTEXT_RESOLUTIONS)
    processor = VaeImageProcessor(vae_scale_factor=16)
    klein = Flux2ImageProcessor(vae_scale_factor=16)
    for width, height in SIZES:
        own_height, own_width = processor.get_default_height_width(Image.new("RGB", (width, height)))
        assert kontext_size((width, height)) == min((abs(own_width / own_height - w / h), w, h) for w, h in PREFERRED_KONTEXT_RESOLUTIONS)[1:]
        assert about_area((width, height)) == pipeline_qwenimage_edit_plus.calculate_dimensions(1024 * 1024, width / height)
    for width, height in ((70, 90), (1601, 911), (333, 2000)):
        picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(picture)
        room = klein._resize_if_exceeds_area(image)  # pyright: ignore[reportPrivateUsage]
        size = klein_size((width, height))
        expected = klein.preprocess(room, height=room.height // 16 * 16, width=room.width // 16 * 16, resize_mode="crop")
        assert size == (room.width // 16 * 16, room.height // 16 * 16)
        assert float((to_pixels(as_seen(EDITORS["Flux2KleinPipeline"], picture)) - expected).abs().max()) < 1e-6
