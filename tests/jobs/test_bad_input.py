"""Bad input to steering, all of it through the door: one clear sentence that names the control, or a plain picture; the model as it was, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from engine import Engine, EngineError, Failed, Recipe, Settings, parse_request
from engine.library.loras import BUNDLED_LORAS
from tests.conftest import OWNER, events_of
from tests.jobs.test_golden_properties import digest, resident
from tests.library.test_controlnets import SD1_RESIDUALS, tensors
from tests.library.test_hostile_names import PAYLOADS
from tests.pictures import bring, draw, read, scene

INK = BUNDLED_LORAS / "ink.safetensors"
SENTENCE_MAX = 400


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    data = tmp_path_factory.mktemp("bad")
    for folder in ("loras", "controlnets", "ip_adapters", "embeddings", "wildcards"):
        (data / folder).mkdir()
    good = load_file(INK)
    for folder in ("loras", "ip_adapters", "embeddings", "controlnets"):
        write_bad(data / folder, good)
    save_arrays(tensors(768, SD1_RESIDUALS), data / "controlnets" / "family.safetensors")
    (data / "wildcards" / "circle.txt").write_text("__circle__\n", encoding="utf-8")
    (data / "wildcards" / "long.txt").write_text("__longer__\n", encoding="utf-8")
    (data / "wildcards" / "longer.txt").write_text("a __long__\n", encoding="utf-8")
    (data / "secret.txt").write_text("the secret words", encoding="utf-8")
    with Engine(Settings(data=data, worker="inline", dtype="float32", device="cpu")) as running:
        yield running


def write_bad(folder: Path, good: dict[str, torch.Tensor]) -> None:
    """A file of each kind that is none, and one that is made for SDXL."""
    (folder / "truncated.safetensors").write_bytes(INK.read_bytes()[:-200])
    torch.save(good, folder / "pickled.safetensors")
    (folder / "random.safetensors").write_bytes(bytes(range(256)) * 40)
    (folder / "nothing.safetensors").write_bytes(b"")
    save_file({"no.such.key": torch.zeros(4, 4)}, folder / "keys.safetensors")
    save_file({name: torch.full_like(value, float("nan")) for name, value in good.items()}, folder / "nan.safetensors")
    save_file(
        {"unet.a.attn2.to_k.lora_A.weight": torch.ones(2, 2048), "unet.a.attn2.to_k.lora_B.weight": torch.ones(8, 2)}, folder / "family.safetensors"
    )
    save_file({name: value for name, value in good.items() if "lora_B" not in name}, folder / "half.safetensors")


@pytest.fixture(autouse=True)
def the_model_is_as_it_was(engine: Engine) -> Iterator[None]:
    before = digest(resident(engine))
    yield
    assert digest(resident(engine)) == before


def refused(engine: Engine, field: str, *, named: str = "", **values: Any) -> str:
    """The sentence with which a request is refused, when it is asked for or when its job begins."""
    try:
        asked = parse_request({"mode": "txt2img", "prompt": "a castle", "steps": 1, "width": 64, "height": 64, "seed": 7, **values})
        ending = events_of(engine, engine.submit(asked, OWNER).id)[-1]
        assert isinstance(ending, Failed), ending
        error = ending.error
    except EngineError as refusal:
        error = refusal
    said = str(error)
    assert error.field == field, said
    assert named in said
    assert error.hint
    assert len(said) < SENTENCE_MAX
    assert str(engine.settings.data) not in said
    return said


def judged(engine: Engine, values: dict[str, Any]) -> tuple[Recipe | None, EngineError | None]:
    """What a request comes to without being drawn. Letters that no text can hold are nothing at all: no browser and no terminal can send them."""
    try:
        return engine._resolver.recipe(parse_request({"prompt": "a", **values}), OWNER), None
    except EngineError as error:
        return None, error
    except UnicodeEncodeError:
        return None, None


KINDS = ("truncated", "pickled", "random", "nothing", "keys", "nan", "family", "half")
USES: dict[str, Callable[[Engine, str], dict[str, Any]]] = {
    "loras": lambda _, name: {"loras": [{"name": name}]},
    "controls": lambda engine, name: {"controls": [{"image": bring(engine, scene()), "preprocessor": "canny", "control": name}]},
    "references": lambda engine, name: {"references": [{"image": bring(engine, scene()), "adapter": name}]},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("field", USES)
def test_an_adapter_that_is_none_is_named(engine: Engine, field: str, kind: str) -> None:
    refused(engine, field, named=kind, **USES[field](engine, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_lora_that_is_none_is_named_from_the_words_too(engine: Engine, kind: str) -> None:
    refused(engine, "loras", named=kind, prompt=f"a castle <lora:{kind}:0.5>")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "half"])
def test_an_embedding_that_is_none_is_named(engine: Engine, kind: str) -> None:
    refused(engine, "prompt", named=kind, prompt=f"a castle <{kind}>")


@pytest.mark.parametrize(
    ("field", "names"),
    [("loras", ("INK", "Ink", "iNk", "ink ", "\u0130nk", "ink.safetensors", "\uff49nk")), ("controls", ("Starter-Edges", "STARTER-EDGES", "starter-edges "))],
)  # fmt: skip
def test_another_name_s_case_is_no_name(engine: Engine, field: str, names: tuple[str, ...]) -> None:
    for name in names:
        refused(engine, field, **USES[field](engine, name))


@pytest.mark.parametrize("size", [(16, 16), (31, 200), (640, 64), (513, 511)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_map_of_another_size_is_fitted_and_said_in_the_recipe(engine: Engine, size: tuple[int, int], fit: str) -> None:
    image = bring(engine, scene(*size))
    use = {"image": image, "preprocessor": "none", "control": "starter-edges", "fit": fit}
    made = draw(engine, "txt2img", controls=[use], steps=1)[0]
    assert read(made).shape == (64, 64, 3)
    assert made.recipe.controls is not None
    assert (made.recipe.controls[0].fit, made.recipe.controls[0].map) == (fit, image)


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_a_hundred_thousand_letters_are_refused_in_a_sentence(engine: Engine, field: str) -> None:
    for text in ("x" * 100_000, "(" * 100_000, "castle " * 15_000, "{a|" * 40_000, "BREAK " * 17_000, "<lora:ink:1>" * 9_000):
        assert "long" in refused(engine, field, **{field: text})


@pytest.mark.parametrize(
    "text",
    ["((((castle", "castle))))", "[castle", "castle]", "(castle:1.2", "castle:1.2)", "[a:b", "[a:b:", "[a|", "|b]", "((a:1.1)", "(:1.2)", "()", "[]", "[[]]", "[:]", "[|]",
     "(a\\", "\\", "BREAK", "BREAK BREAK", " BREAK ", "BREAK AND", ")(", "][", "<", ">", "<lora", "<lora:", "<lora>", "__", "____", "_ _"],
)  # fmt: skip
def test_brackets_without_end_and_words_that_are_none_are_drawn_as_they_are(engine: Engine, text: str) -> None:
    made = draw(engine, "txt2img", prompt=text, steps=1)[0]
    assert made.recipe.prompt.strip() == text.strip()
    assert np.isfinite(read(made)).all()


def test_choices_without_end_name_their_control(engine: Engine) -> None:
    for field in ("prompt", "negative_prompt"):
        for text in ("{a|b", "{", "}", "{}", "{|}", "{{a|b}", "{2::}", "{a::b|c}"):
            error = judged(engine, {field: text})[1]
            assert error is None or error.field == field
            if error is None:
                assert np.isfinite(read(draw(engine, "txt2img", **{field: text}, steps=1)[0])).all()


@pytest.mark.parametrize("name", ["circle", "long", "longer"])
def test_a_list_that_names_itself_is_refused_by_name(engine: Engine, name: str) -> None:
    for field in ("prompt", "negative_prompt"):
        said = refused(engine, field, named=name, **{field: f"a __{name}__"})
        assert "itself" in said


def test_every_path_in_a_list_s_or_a_lora_s_name_stays_words_or_is_refused(engine: Engine) -> None:
    # Judged, not drawn: four hundred pictures would say no more.
    for payload in PAYLOADS:
        for field, text in (
            ("prompt", f"a __{payload}__"),
            ("negative_prompt", f"__{payload}__"),
            ("prompt", f"a <lora:{payload}:0.5>"),
            ("prompt", f"<{payload}>"),
        ):
            recipe, error = judged(engine, {field: text})
            if error is not None:
                assert error.field in (field, "loras"), (payload, error)
                assert len(str(error)) < SENTENCE_MAX
            elif recipe is not None:
                assert "secret words" not in f"{recipe.prompt} {recipe.negative_prompt}", payload
                assert not recipe.loras, payload
                assert not recipe.embeddings, payload
