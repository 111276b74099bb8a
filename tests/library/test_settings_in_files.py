"""Settings in picture files: through every format and back, from other programs, and what is missing is listed."""

from __future__ import annotations

import base64
import io
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from engine import DamagedFile, Engine, InvalidRequest, Recipe, Settings, parse_request
from engine.contract.schedulers import SCHEDULER_FACTS
from engine.library.a1111 import parse_parameters, read_pairs
from engine.library.carriers import METADATA_MAX_BYTES, PICTURE_FORMATS, converted, png_info, read_texts
from engine.library.metadata import parameters_text, read_recipe, texts_of
from tests.conftest import OWNER

_WORDS = (
    "castle", '"', "'", "\n", "\n\n", ":", ", ", "🏰", "👩‍🎨", "{", "}", "(", ")", "(sunset:1.2)", "[a:b:0.5]", "\\", "<b>", "Steps: 3", "&amp;", "]]>",
    "ünïcödé", "赤い城", "قلعة", " ", "\t", "%s", "{{x}}", "\\n", "é", "—", "Size: 1x1, Seed: 2", "\u2028", "</rdf:RDF>", "Negative prompts", "BREAK", "\ufeff",
)  # fmt: skip


def some_text(chance: random.Random, most: int = 40) -> str:
    return "".join(chance.choice(_WORDS) for _ in range(chance.randint(0, most)))


def some_recipe(chance: random.Random) -> Recipe:
    scheduler = chance.choice(list(SCHEDULER_FACTS))
    mode = chance.choice(["txt2img", "img2img", "inpaint", "upscale"])
    digest = "".join(chance.choice("0123456789abcdef") for _ in range(64))
    values: dict[str, Any] = {
        "mode": mode, "model": "starter", "model_hash": digest, "prompt": some_text(chance), "negative_prompt": some_text(chance), "count": 1,
        "steps": chance.randint(3, 50), "guidance_scale": chance.choice([7.0, 4.5, chance.uniform(0, 30)]), "scheduler": scheduler,
        "schedule": chance.choice([None, *SCHEDULER_FACTS[scheduler].schedules]), "width": 8 * chance.randint(8, 256), "height": 8 * chance.randint(8, 256),
        "seed": chance.choice([0, 2**32 - 1, chance.randrange(2**32)]),
    }  # fmt: skip
    if chance.random() < 0.4:
        values["loras"] = [{"name": f"style-{k}", "weight": chance.choice([0.8, -1.0, chance.uniform(-2, 2)]), "hash": digest} for k in range(3)]
    if mode != "txt2img":
        values |= {"source": digest, "strength": chance.choice([0.5, chance.random()]) or 0.1}
    if mode == "img2img":
        values["fit"] = "crop"
    if mode == "inpaint":
        values |= {
            "mask": digest,
            "region": "masked",
            "padding": 32,
            "feather": chance.uniform(0, 256),
            "is_soft": True,
            "fill": "blur",
            "expand_left": 8,
        }
    if mode == "upscale":
        values |= {"factor": chance.choice([2, 4]), "upscaler": "latent", "upscaler_hash": "built-in-1", "overlap": 64}
    elif chance.random() < 0.3:
        values |= {"variation_seed": chance.randrange(2**32), "variation_strength": chance.uniform(0.01, 1)}
    return Recipe.model_validate(values)


RECIPES = [some_recipe(random.Random(number)) for number in range(200)]


def saved(folder: Path, recipe: Recipe) -> Path:
    path = folder / "picture.png"
    Image.new("RGB", (16, 16), "red").save(path, pnginfo=png_info(texts_of(recipe)))
    return path


def png_with(parameters: str, key: str = "parameters") -> bytes:
    info, target = PngInfo(), io.BytesIO()
    info.add_text(key, parameters)
    Image.new("RGB", (16, 16)).save(target, "PNG", pnginfo=info)
    return target.getvalue()


@pytest.mark.parametrize("kind", PICTURE_FORMATS)
def test_two_hundred_recipes_come_back_from_every_kind_of_file(tmp_path: Path, kind: Any) -> None:
    for recipe in RECIPES:
        content = converted(saved(tmp_path, recipe), kind)
        assert Image.open(io.BytesIO(content)).format == kind.upper()
        texts = read_texts(io.BytesIO(content))
        assert texts.recipe == recipe.canonical_json()
        assert texts.parameters == parameters_text(recipe)
        assert read_recipe(io.BytesIO(content)).canonical_json().encode() == recipe.canonical_json().encode()


def test_two_hundred_recipes_come_back_from_the_common_text() -> None:
    for recipe in RECIPES:
        found = parse_parameters(parameters_text(recipe))
        assert found is not None
        values = found.values
        assert (values["prompt"], values["negative_prompt"]) == (recipe.prompt, recipe.negative_prompt)
        assert [(one["name"], one["weight"]) for one in values.get("loras", [])] == [(one.name, one.weight) for one in recipe.loras or ()]
        for name in ("steps", "guidance_scale", "scheduler", "schedule", "seed", "width", "height", "strength", "variation_seed", "factor"):
            assert values.get(name) == getattr(recipe, name), name
        assert values.get("mode", "txt2img") == recipe.mode
        assert (found.model, found.model_hash, found.upscaler) == ("starter", recipe.model_hash[:10], recipe.upscaler)
        assert found.unread == {}


def test_the_picture_of_a_converted_file_is_the_same_to_the_eye(tmp_path: Path) -> None:
    path = saved(tmp_path, RECIPES[0])
    Image.linear_gradient("L").convert("RGB").save(path, pnginfo=png_info(texts_of(RECIPES[0])))
    assert converted(path, "png") == path.read_bytes()
    for kind in ("jpeg", "webp"):
        with Image.open(io.BytesIO(converted(path, kind))) as image:
            difference = sum(abs(a - b) for a, b in zip(image.convert("L").tobytes(), Image.linear_gradient("L").tobytes(), strict=True)) / 256**2
        assert difference < 2


def test_settings_too_long_for_a_jpeg_are_refused_and_not_dropped(tmp_path: Path) -> None:
    long = RECIPES[0].model_copy(update=dict.fromkeys(("prompt", "negative_prompt", "prompt_template", "negative_prompt_template"), "🏰" * 4000))
    with pytest.raises(InvalidRequest, match="PNG or WebP"):
        converted(saved(tmp_path, long), "jpeg")
    assert read_recipe(io.BytesIO(converted(saved(tmp_path, long), "webp"))) == long


# What other programs write, as they write it.
FOREIGN = {
    "A1111 1.10": (
        "a red castle, (sunset:1.2) <lora:ink:0.8>\nat night\nNegative prompt: blurry, low quality\n"
        "Steps: 28, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 1234567890, Size: 512x768, Model hash: 6ce0161689, "
        'Model: v1-5-pruned-emaonly, VAE: vae-ft-mse.safetensors, Clip skip: 2, Lora hashes: "ink: aabbccddeeff", TI hashes: "easynegative: c74b4e810b03", '
        "Version: v1.10.1",
        {"prompt": "a red castle, (sunset:1.2) <lora:ink:0.8>\nat night", "negative_prompt": "blurry, low quality", "steps": 28, "clip_skip": 2, "scheduler": "dpmpp_2m",
         "schedule": "karras", "guidance_scale": 6.5, "seed": 1234567890, "width": 512, "height": 768},
        {},
    ),
    "A1111 1.6, schedule in the sampler's name, high resolution": (
        "castle\nSteps: 20, Sampler: DPM++ 2M SDE Karras, CFG scale: 7, Seed: 5, Size: 512x512, Denoising strength: 0.7, Hires upscale: 2, Hires upscaler: Latent",
        {"prompt": "castle", "negative_prompt": "", "steps": 20, "scheduler": "dpmpp_2m_sde", "schedule": "karras", "guidance_scale": 7.0, "seed": 5,
         "width": 512, "height": 512},
        {"Denoising strength": "0.7", "Hires upscale": "2", "Hires upscaler": "Latent"},
    ),
    "Forge, ControlNet and what cannot be": (
        'castle\nSteps: 900, Sampler: DPM++ 3M SDE, Schedule type: Align Your Steps, CFG scale: 70, Seed: -1, Size: 500x768, '
        'ControlNet 0: "Module: canny, Model: x [1], Weight: 1", Version: f2.0.1\nTemplate: a {red|blue} castle',
        {"prompt": "castle", "negative_prompt": ""},
        {"Steps": "900", "Sampler": "DPM++ 3M SDE", "Schedule type": "Align Your Steps", "CFG scale": "70", "Seed": "-1", "Size": "500x768",
         "ControlNet 0": "Module: canny, Model: x [1], Weight: 1"},
    ),
    "image to image": (
        "castle\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512, Denoising strength: 0.55, Tiling: True, Variation seed: 9, Variation seed strength: 0.2",
        {"prompt": "castle", "negative_prompt": "", "steps": 20, "scheduler": "euler_a", "guidance_scale": 7.0, "seed": 5, "width": 512, "height": 512,
         "mode": "img2img", "strength": 0.55, "seamless": "xy", "variation_seed": 9, "variation_strength": 0.2},
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_other_programs_are_understood_and_the_rest_is_kept(name: str) -> None:
    text, values, unread = FOREIGN[name]
    found = parse_parameters(text)
    assert found is not None
    assert found.values == values
    assert {key: value for key, value in found.unread.items() if key in unread} == unread
    parse_request({"source": "0" * 64, **values} if "mode" in values else values)


@pytest.mark.parametrize(
    "text", ["", "a castle", "{}", '{"prompt": {"3": {}}}', "Note: this\nis no setting", "Negative prompt: x", "camera\nf/2.8: yes"]
)
def test_what_is_no_settings_is_none(text: str) -> None:
    assert parse_parameters(text) is None


def test_pairs_are_read_with_their_quotes() -> None:
    assert read_pairs('A: "x, \\"y\\": z", B: 2, C: "open, D: , loose words, E: 5') == {"A": 'x, "y": z', "B": "2", "C": '"open', "D": "", "E": "5"}


@pytest.mark.parametrize(
    "bite",
    [
        "a",
        ":",
        ",",
        '"',
        "\n",
        "Steps: ",
        "\nSteps: ",
        "<lora:",
        "<lora:a:1>",
        "\nNegative prompt:",
        "\\",
        'a: "',
        'a: "\\',
        "easel:recipe=",
        "a:,",
        "( ",
    ],
)
@pytest.mark.timed
def test_a_hostile_text_of_full_size_is_read_in_a_moment(bite: str) -> None:
    text = (bite * METADATA_MAX_BYTES)[: METADATA_MAX_BYTES - 20] + "\nSteps: 1, Seed: 2"
    begin = time.perf_counter()
    parse_parameters(text)
    parse_parameters("Steps: " + text)
    assert time.perf_counter() - begin < 1.5


def test_user_comments_of_both_byte_orders_and_of_plain_letters() -> None:
    text = "schloss, grün\nSteps: 20, Sampler: Euler, Seed: 3"
    for start, code in ((b"UNICODE\0", "utf-16-be"), (b"UNICODE\0", "utf-16-le"), (b"ASCII\0\0\0", "utf-8")):
        exif, target = Image.Exif(), io.BytesIO()
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = start + text.encode(code)
        Image.new("RGB", (16, 16)).save(target, "JPEG", exif=exif.tobytes())
        assert read_texts(io.BytesIO(target.getvalue())).parameters == text


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(Settings(data=tmp_path / "data"))
    yield made
    made.close()


def png_of(recipe: Recipe) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (16, 16)).save(target, "PNG", pnginfo=png_info(texts_of(recipe)))
    return target.getvalue()


def complete(engine: Engine, **values: object) -> Recipe:
    """A recipe of what is really here."""
    ink = next(card for card in engine.loras() if card.name == "ink")
    fixed = {"model": "starter", "model_hash": engine.models()[0].content_hash, "prompt": "castle", "negative_prompt": "", "steps": 4, "count": 1,
             "guidance_scale": 4.5, "scheduler": "euler", "width": 64, "height": 64, "seed": 5,
             "loras": [{"name": "ink", "weight": 0.8, "hash": ink.content_hash}]}  # fmt: skip
    return Recipe.model_validate({**fixed, **values})


def test_what_is_all_here_comes_back_whole(engine: Engine) -> None:
    recipe = complete(engine)
    found = engine.read_settings(png_of(recipe), OWNER)
    assert (found.source, found.missing, found.unread) == ("easel", (), {})
    assert found.recipe == recipe
    again = engine._resolver.recipe(parse_request(found.values), OWNER)
    assert again.canonical_json() == recipe.canonical_json()


def test_what_is_missing_is_listed_and_left_out(engine: Engine) -> None:
    lost = "ab" * 32
    loras = [{"name": "ink", "weight": 1.0, "hash": "00" * 32}, {"name": "gone", "weight": 1.0, "hash": "00" * 32}]
    recipe = complete(
        engine, mode="inpaint", source=lost, mask="cd" * 32, strength=0.5, region="masked", padding=8, feather=2.0, is_soft=False, fill="blur",
        controls=[{"image": "ef" * 32, "control": "depth", "control_hash": "33" * 32, "map": "44" * 32}],
        references=[{"image": lost, "adapter": "mine", "hash": "55" * 32}], loras=loras, model="other", model_hash="11" * 32, embeddings={"my-word": "22" * 32},
    )  # fmt: skip
    found = engine.read_settings(png_of(recipe), OWNER)
    said = {(one.kind, one.name, one.state) for one in found.missing}
    assert said == {
        ("model", "other", "absent"), ("lora", "ink", "changed"), ("lora", "gone", "absent"), ("embedding", "my-word", "absent"),
        ("source", lost, "absent"), ("mask", "cd" * 32, "absent"), ("picture", "ef" * 32, "absent"), ("control", "depth", "absent"),
        ("adapter", "mine", "absent"),
    }  # fmt: skip
    assert not {"model", "source", "mask"} & found.values.keys()
    assert [use["name"] for use in found.values["loras"]] == ["ink"]
    assert (found.values["controls"], found.values["references"]) == ([], [])
    assert all(one.message.endswith(".") and one.field for one in found.missing)


def test_a_source_is_there_for_its_owner_only(engine: Engine) -> None:
    source = engine.add_input(png_with(""), OWNER)
    recipe = complete(engine, mode="img2img", source=source.hash, strength=0.5, fit="crop")
    assert engine.read_settings(png_of(recipe), OWNER).values["source"] == source.hash
    stranger = engine.read_settings(png_of(recipe), "visitor-other")
    assert [one.kind for one in stranger.missing] == ["source"]
    assert "source" not in stranger.values


def test_another_programs_picture_names_what_is_not_here(engine: Engine) -> None:
    text, values, unread = FOREIGN["A1111 1.10"]
    found = engine.read_settings(png_with(text), OWNER)
    assert found.source == "a1111"
    assert found.values == values
    assert found.unread == unread
    assert [(one.kind, one.name) for one in found.missing] == [
        ("model", "v1-5-pruned-emaonly"),
        ("embedding", "easynegative"),
        ("vae", "vae-ft-mse"),
    ]
    starter = engine.models()[0].content_hash[:10]
    by_hash = engine.read_settings(png_with(f"x\nSteps: 2, Seed: 1, Model hash: {starter}, Model: renamed"), OWNER)
    assert (by_hash.values["model"], by_hash.missing) == ("starter", ())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a picture"), (b"<svg/>", "not a picture"), (png_with("holiday"), "no settings"), (png_with("x", "Comment"), "no settings"),
        (png_with("a" * (METADATA_MAX_BYTES + 1)), "too large"), (png_with("{}", "easel"), "cannot be read"), (png_with("[" * 100_000, "easel"), "cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why(engine: Engine, data: bytes, words: str) -> None:
    with pytest.raises(DamagedFile, match=words):
        engine.read_settings(data, OWNER)


@pytest.mark.timed
def test_a_small_file_that_unpacks_to_a_giant_text_is_refused(engine: Engine) -> None:
    info, target = PngInfo(), io.BytesIO()
    info.add_text("parameters", "a" * 50_000_000, zip=True)
    Image.new("RGB", (16, 16)).save(target, "PNG", pnginfo=info)
    begin = time.perf_counter()
    with pytest.raises(DamagedFile):
        engine.read_settings(target.getvalue(), OWNER)
    assert time.perf_counter() - begin < 1


def test_a_damaged_packet_is_no_recipe(tmp_path: Path) -> None:
    for packet in (b'easel:recipe="***"', b'easel:recipe="' + base64.b64encode(b"\xff\xfe") + b'"', b"<" * 100_000):
        target = io.BytesIO()
        Image.new("RGB", (16, 16)).save(target, "WEBP", xmp=packet)
        assert read_texts(io.BytesIO(target.getvalue())).recipe is None
