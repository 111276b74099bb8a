"""What has to hold whatever is asked for: every golden property, over requests that chance puts together from all of steering."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from engine import GUIDANCE_FACTS, Cancelled, Drawn, Engine, Progress, Settings, parse_request, samplers_of, schedules_of
from engine.diffusion.latents import decode, encode
from engine.diffusion.loading import Components
from engine.library.metadata import read_recipe
from tests.conftest import OWNER, STARTER, events_of
from tests.diffusion.tiny import make_model
from tests.pictures import bring, bring_mask, distance, draw, read, scene

CASES = range(8)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    data = tmp_path_factory.mktemp("golden")
    make_model(data / "models" / "other", in_channels=4)
    with Engine(Settings(data=data, worker="inline", dtype="float32", device="cpu")) as running:
        yield running


def resident(engine: Engine) -> Components:
    return engine._hosts[0]._painter.load(STARTER)[0]  # type: ignore[attr-defined]


def digest(components: Components) -> str:
    """SHA-256 over every weight, the names of all modules and everything that hangs on them."""
    total = hashlib.sha256()
    for part in (components.unet, components.text_encoder, components.vae):
        for name, module in part.named_modules():
            total.update(f"{name} {type(module).__name__} {len(module._forward_hooks)} {len(module._forward_pre_hooks)}".encode())
        for name, value in part.state_dict().items():
            total.update(name.encode() + value.contiguous().numpy().tobytes())
    return total.hexdigest()


def asked(engine: Engine, number: int) -> dict[str, Any]:
    """One request that chance puts together: sampler and schedule, guidance, LoRAs, a unit, words that change and choose."""
    rng = random.Random(number)
    scheduler = rng.choice(sorted(samplers_of("sd1")))
    style = rng.choice(sorted(GUIDANCE_FACTS))
    values: dict[str, Any] = {
        "scheduler": scheduler, "schedule": rng.choice([None, *schedules_of(scheduler)]), "steps": rng.choice([4, 5]), "seed": rng.randrange(2**32),
        "guidance_style": style, "guidance_scale": rng.choice([2.5, 6.0]), "guidance_rescale": rng.choice([0, 0.5]), "count": 2,
        "prompt": rng.choice(["a {red|blue} castle __place__", "a (stone:1.3) [castle:ship:0.5] at night", "a [cat|tree] BREAK <lora:ink:0.6>"]),
        "negative_prompt": rng.choice(["", "{blurry|noisy}"]), "perturbed_scale": 2.0 if GUIDANCE_FACTS[style].needs_attention else None,
    }  # fmt: skip
    if rng.random() < 0.6:
        values["loras"] = [{"name": "neon", "weight": rng.choice([-1.0, 0.7]), "blocks": rng.choice([None, {"up": 0.2}])}]
    if rng.random() < 0.6:
        values["controls"] = [{"image": bring(engine, scene(96, 72)), "preprocessor": "canny", "weight": 0.8, "end": rng.choice([0.6, 1.0])}]
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.parametrize("number", CASES)
def test_same_seed_same_picture_alone_in_a_batch_and_from_its_file(engine: Engine, number: int) -> None:
    values, before = asked(engine, number), digest(resident(engine))
    first, second = draw(engine, "txt2img", **values)
    # What was attached is gone: the model is what it was, bit for bit.
    assert digest(resident(engine)) == before
    again = draw(engine, "txt2img", **values)
    assert [read(one).tobytes() for one in again] == [read(first).tobytes(), read(second).tobytes()]
    alone = draw(engine, "txt2img", **{**values, "seed": second.seed, "count": 1})[0]
    assert read(alone).tobytes() == read(second).tobytes()
    recipe = read_recipe(second.path)
    made_again = draw(engine, "txt2img", **recipe.to_request().model_dump(exclude={"mode"}, exclude_none=True))[0]
    assert read(made_again).tobytes() == read(second).tobytes()
    # Words that chance has chosen are asked for as they are: the template they came from stays with the first picture.
    templates = {"prompt_template", "negative_prompt_template"}
    assert made_again.recipe.model_dump(exclude=templates) == recipe.model_dump(exclude=templates)


@pytest.mark.parametrize("number", CASES)
def test_stop_at_any_step_is_one_ending_and_a_clean_model(engine: Engine, number: int) -> None:
    before = digest(resident(engine))
    job = engine.submit(parse_request({"mode": "txt2img", "width": 64, "height": 64, **asked(engine, number), "steps": 40, "count": 1}), OWNER)
    wanted = random.Random(number).randrange(1, 6)
    with engine.watch(job.id, owner=OWNER) as watch:
        seen = []
        for event in watch:
            seen.append(event)
            if isinstance(event, Progress) and event.step >= wanted:
                engine.cancel(job.id, owner=OWNER)
    assert [type(event) for event in seen if not isinstance(event, Progress)][-1] is Cancelled
    assert sum(isinstance(event, (Cancelled, Drawn)) for event in seen) == 1
    assert engine.history(OWNER, 1) == [] or engine.history(OWNER, 1)[0].job_id != job.id
    assert events_of(engine, job.id) == [seen[-1]]
    assert digest(resident(engine)) == before


def test_adapters_at_nothing_equal_none(engine: Engine) -> None:
    plain = read(draw(engine, "txt2img")[0])
    image = bring(engine, scene())
    for nothing in (
        {"loras": [{"name": "neon", "weight": 0}]}, {"prompt": "a red castle at sunset <lora:neon:0>"},
        {"controls": [{"image": image, "preprocessor": "canny", "weight": 0}]}, {"guidance_style": "pag", "perturbed_scale": 0},
        {"variation_seed": 3, "variation_strength": 0},
    ):  # fmt: skip
        made = read(draw(engine, "txt2img", **nothing)[0])
        assert (made == plain).all(), nothing


@pytest.mark.parametrize("scheduler", ["ddim", "euler_a", "dpmpp_2m", "lcm"])
def test_guidance_one_hears_only_the_prompt(engine: Engine, scheduler: str) -> None:
    pictures = [
        read(draw(engine, "txt2img", guidance_scale=1, scheduler=scheduler, negative_prompt=words)[0]) for words in ("", "castle, red", "x " * 80)
    ]
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] == pictures[2]).all()
    heard = [read(draw(engine, "txt2img", guidance_scale=4, scheduler=scheduler, negative_prompt=words)[0]) for words in ("", "castle, red")]
    assert (heard[0] != heard[1]).any()


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpmpp_2m", "unipc"])
def test_strength_near_nothing_returns_the_picture_as_the_autoencoder_sees_it(engine: Engine, scheduler: str) -> None:
    image = scene(number=3)
    source = bring(engine, image)
    components = resident(engine)
    pixels = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        seen = decode(components, encode(components, pixels, [torch.Generator().manual_seed(1)]))[0]
    wanted = ((seen.permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).round().numpy()
    near = read(draw(engine, "img2img", source=source, strength=0.01, steps=100, scheduler=scheduler)[0])
    far = read(draw(engine, "img2img", source=source, strength=0.6, steps=10, scheduler=scheduler)[0])
    print(scheduler, distance(near, wanted), distance(far, wanted))
    assert distance(near, wanted) < 4
    assert distance(near, wanted) < distance(far, wanted) / 4


@pytest.mark.parametrize("number", CASES)
def test_pixels_outside_the_mask_stay_whatever_leads(engine: Engine, number: int) -> None:
    image = scene(96, 64, number=number)
    source = bring(engine, image)
    mask = bring_mask(engine, source, (30, 20, 60, 44), (96, 64))
    values = {name: value for name, value in asked(engine, number).items() if name not in ("count",)}
    made = read(draw(engine, "inpaint", **values, source=source, mask=mask, feather=0, width=None, height=None)[0])
    outside = np.ones((64, 96), bool)
    outside[20:44, 30:60] = False
    assert (made[outside] == image[outside]).all()
    assert (made[~outside] != image[~outside]).any()


def test_a_model_that_was_put_away_and_loaded_again_draws_the_same(engine: Engine) -> None:
    values = asked(engine, 1)
    before, whole = [read(one).tobytes() for one in draw(engine, "txt2img", **values)], digest(resident(engine))
    first = resident(engine)
    weight = first.unet.conv_in.weight
    draw(engine, "txt2img", model="other", steps=2)
    # There is room for both, so it has to be told to go.
    assert resident(engine).unet.conv_in.weight is weight
    engine._hosts[0]._painter._residency.rest_all()  # type: ignore[attr-defined]
    assert first.unet.conv_in.weight.is_meta
    assert [read(one).tobytes() for one in draw(engine, "txt2img", **values)] == before
    assert resident(engine).unet.conv_in.weight is not weight
    assert digest(resident(engine)) == whole
