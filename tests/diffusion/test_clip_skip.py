"""Clip skip: which layer of the text encoder speaks. Equal to diffusers, whose own number is one less for SD 1 and two less for SDXL.

diffusers skips for the prompt and not for the negative one; here, as in AUTOMATIC1111 and ComfyUI, both are heard alike. So its pipeline is
asked twice: without guidance as it is, and guided with what its own encoder makes of each of the two.
"""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPTextModel

from engine import Engine, InvalidRequest, Settings, TextToImage, parse_request
from engine.contract.recipe import resolve
from engine.diffusion.latents import decode
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.text import PromptEncoder
from engine.library.a1111 import parse_parameters
from engine.library.catalogue import read_card
from engine.library.metadata import parameters_text
from tests.conftest import OWNER
from tests.diffusion.families import make_family
from tests.diffusion.originals import make_pair
from tests.pictures import draw, read

PIPELINES = {
    "sd1": "stable_diffusion.pipeline_stable_diffusion:StableDiffusionPipeline",
    "sdxl": "stable_diffusion_xl.pipeline_stable_diffusion_xl:StableDiffusionXLPipeline",
}
# Ours, and diffusers' number for the same layer; None where it has none.
SAME = {"sd1": ((None, None), (1, None), (2, 1), (3, 2)), "sdxl": ((None, None), (2, None), (3, 1))}
SMALL = {"prompt": "a red castle at sunset", "negative_prompt": "blurry", "width": 64, "height": 64, "steps": 3, "seed": 11, "scheduler": "euler"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for family in PIPELINES:
        make_pair(folder, family)
    return folder


def ours(components: Components, clip_skip: int | None, guidance: float) -> torch.Tensor:
    """(3, H, W), walked like a job."""
    recipe = resolve(TextToImage.model_validate({**SMALL, "clip_skip": clip_skip, "guidance_scale": guidance}), read_card(components.folder))
    prompts = PromptEncoder(components)
    with prompts.speaking_from(recipe.clip_skip):
        steps = list(text_to_image(components, prompts, recipe))
    with torch.inference_mode():
        return decode(components, steps[-1].latents)[0]


def theirs(components: Components, clip_skip: int | None, guidance: float, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    # diffusers looks for a layer that transformers has since taken out.
    monkeypatch.setattr(CLIPTextModel, "text_model", property(lambda encoder: encoder), raising=False)
    module, name = PIPELINES[components.family.key].split(":")
    cls: Any = getattr(import_module(f"diffusers.pipelines.{module}"), name)
    scheduler = import_module("diffusers").EulerDiscreteScheduler.from_config(components.scheduler_config)
    more = (
        {"add_watermarker": False}
        if components.family.key == "sdxl"
        else {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    )
    pipe = cls(**components.parts, scheduler=scheduler, **more)
    pipe.set_progress_bar_config(disable=True)
    words: dict[str, Any] = {"prompt": SMALL["prompt"], "clip_skip": clip_skip}
    if guidance > 1:
        options = {"device": components.device, "num_images_per_prompt": 1, "do_classifier_free_guidance": False, "clip_skip": clip_skip}
        names = ("prompt_embeds", "pooled_prompt_embeds") if components.family.key == "sdxl" else ("prompt_embeds",)
        with torch.inference_mode():
            said, unwanted = (pipe.encode_prompt(prompt=text, **options)[::2] for text in (SMALL["prompt"], SMALL["negative_prompt"]))
        words = dict(zip(names, said, strict=False)) | {f"negative_{name}": value for name, value in zip(names, unwanted, strict=False)}
    answer = pipe(
        **words, num_inference_steps=3, guidance_scale=guidance, height=64, width=64, generator=[torch.Generator().manual_seed(11)], output_type="pt"
    )
    return answer.images[0] * 2 - 1


@pytest.mark.parametrize("guidance", [1.0, 5.0])
@pytest.mark.parametrize("family", PIPELINES)
def test_every_layer_is_the_one_that_diffusers_means(models: Path, family: str, guidance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    components = load_components(models / f"{family}-folder", device=torch.device("cpu"), dtype=torch.float32)
    drawn = []
    for mine, other in SAME[family]:
        drawn.append(ours(components, mine, guidance))
        worst = float((drawn[-1].clamp(-1, 1) - theirs(components, other, guidance, monkeypatch)).abs().max())
        print(f"{family}, guidance {guidance:g}, clip skip {mine}: largest difference {worst:.1e} of pixels in -1 to 1")
        assert worst <= 1e-5, (mine, worst)
    assert torch.equal(drawn[0], drawn[1])
    assert all(float((one - two).abs().max()) > 1e-5 for one, two in pairwise(drawn[1:]))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_pair(folder / "models", "sd1")
    make_family(folder / "models" / "flux1", "flux1")
    return folder


def test_it_is_asked_for_written_down_and_forgotten(data: Path) -> None:
    with Engine(Settings(data=data, worker="inline", dtype="float32", device="cpu")) as engine:
        small = {"model": "sd1.safetensors", "steps": 2}
        plain = read(draw(engine, "txt2img", **small)[0])
        made = draw(engine, "txt2img", clip_skip=2, **small)[0]
        assert not np.array_equal(read(made), plain)
        assert np.array_equal(read(draw(engine, "txt2img", **small)[0]), plain)
        assert made.recipe.to_request().clip_skip == 2
        text = parameters_text(made.recipe)
        assert "Clip skip: 2" in text
        found = parse_parameters(text)
        assert found is not None
        assert (found.values["clip_skip"], found.unread) == (2, {})
        assert "clip_skip" not in draw(engine, "txt2img", **small)[0].recipe.canonical_json()
        for values, said in (
            ({"model": "sd1.safetensors", "clip_skip": 4}, "The text encoder of sd1 has 3 layers."),
            ({"model": "flux1", "clip_skip": 2}, "there is nothing to skip"),
        ):
            with pytest.raises(InvalidRequest, match=said) as caught:
                engine.submit(parse_request({"prompt": "x", **values}), OWNER)
            assert caught.value.field == "clip_skip"


@pytest.mark.parametrize("value", [0, 13, True, "two", 1.5])
def test_what_is_no_layer_is_refused_in_words(value: object) -> None:
    with pytest.raises(InvalidRequest, match="Clip skip cannot be") as caught:
        parse_request({"prompt": "x", "clip_skip": value})
    assert caught.value.hint == "Choose 1 for the last layer, up to 12, or leave it open."
