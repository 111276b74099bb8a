"""Reference pictures through the door: in a request and its recipe, in every mode, and gone for the next picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine import Engine, Failed, Finished, InvalidRequest, ModelNotFound, NotFound, TextToImage, parse_request
from engine.library.catalogue import read_card
from engine.library.metadata import read_recipe
from tests.conftest import OWNER, STARTER, events_of
from tests.diffusion.ip_adapters import make_adapter, write_adapter, write_encoder
from tests.diffusion.tiny import make_model
from tests.jobs.test_engine import pixels
from tests.pictures import encoded

Make = Callable[..., TextToImage]


@pytest.fixture
def studio(inline_engine: Engine) -> Engine:
    """With an adapter for the starter and its image encoder in the folders where people drop them."""
    data = inline_engine.settings.data
    write_adapter(data / "ip_adapters" / "mine.safetensors", make_adapter(read_card(STARTER)))
    write_encoder(data / "image_encoders" / "tower")
    return inline_engine


def bring(engine: Engine, colour: str = "orange", owner: str = OWNER) -> str:
    image = Image.new("RGB", (96, 64), "navy")
    image.paste(colour, (0, 32, 96, 64))
    return engine.add_input(encoded(image), owner).hash


def draw(engine: Engine, request: Any) -> Path:
    ending = events_of(engine, engine.submit(request, OWNER).id)[-1]
    assert isinstance(ending, Finished), ending
    return ending.pictures[0].path


def test_a_reference_changes_the_picture_and_the_recipe_makes_it_again(studio: Engine, request_of: Make) -> None:
    picture = bring(studio)
    plain = pixels(draw(studio, request_of()))
    path = draw(studio, request_of(references=[{"image": picture, "weight": 0.8, "adapter": "mine", "end": 0.75}]))
    assert pixels(path) != plain
    recipe = read_recipe(path)
    assert recipe.references is not None
    (use,) = recipe.references
    assert (use.image, use.weight, use.end, use.adapter, use.image_encoder) == (picture, 0.8, 0.75, "mine", "tower")
    assert [len(digest or "") for digest in (use.hash, use.image_encoder_hash)] == [64, 64]
    assert pixels(draw(studio, recipe.to_request())) == pixels(path)
    assert pixels(draw(studio, request_of())) == plain


def test_the_starter_brings_an_image_encoder(inline_engine: Engine, request_of: Make) -> None:
    """An adapter made for its width needs nothing else."""
    adapter = make_adapter(read_card(STARTER), embedding=128)
    write_adapter(inline_engine.settings.data / "ip_adapters" / "mine.safetensors", adapter)
    path = draw(inline_engine, request_of(references=[{"image": bring(inline_engine), "adapter": "mine"}]))
    (use,) = read_recipe(path).references or ()
    assert (use.image_encoder, use.image_encoder_hash) == ("model", None)
    assert pixels(path) != pixels(draw(inline_engine, request_of()))


def test_the_starter_brings_an_adapter_of_its_own(inline_engine: Engine, request_of: Make) -> None:
    """Nothing has to be named or downloaded."""
    path = draw(inline_engine, request_of(references=[{"image": bring(inline_engine)}]))
    (use,) = read_recipe(path).references or ()
    assert (use.adapter, use.image_encoder) == ("starter", "model")
    assert pixels(path) != pixels(draw(inline_engine, request_of()))
    card = next(one for one in inline_engine.reference_adapters() if one.name == "starter")
    assert (card.title, card.licence, card.refusal) == ("Starter: a picture as a prompt", "Apache-2.0", None)


def test_several_with_weights_windows_and_style(studio: Engine, request_of: Make) -> None:
    one, two = bring(studio), bring(studio, "lime")
    uses = [{"image": one, "weight": 0.5, "adapter": "mine"}, {"image": two, "style_only": True, "adapter": "mine"}]
    made = [pixels(draw(studio, request_of(references=some))) for some in ([], uses[:1], uses[1:], uses, [*uses, {**uses[0], "start": 0.5}])]
    assert len(set(made)) == 5


def test_what_comes_to_nothing_is_the_plain_picture(studio: Engine, request_of: Make) -> None:
    picture, plain = bring(studio), pixels(draw(studio, request_of()))
    for nothing in ({"weight": 0}, {"start": 0.5, "end": 0.5}):
        path = draw(studio, request_of(references=[{"image": picture, "adapter": "mine", **nothing}]))
        assert pixels(path) == plain
        assert read_recipe(path).references is None


@pytest.mark.parametrize(
    "values",
    [
        {"mode": "img2img", "strength": 0.75},
        {"mode": "inpaint", "expand_left": 32, "region": "whole"},
        {"mode": "upscale", "factor": 2, "strength": 0.5, "upscaler": "lanczos", "overlap": 16},
    ],
)
def test_every_mode_sees_them(studio: Engine, values: dict[str, Any]) -> None:
    picture = bring(studio)
    values = {"prompt": "a castle", "source": bring(studio, "teal"), "steps": 4, "width": 64, "height": 64, "seed": 3, **values}
    seen = draw(studio, parse_request({**values, "references": [{"image": picture, "adapter": "mine"}]}))
    assert pixels(seen) != pixels(draw(studio, parse_request(values)))
    assert read_recipe(seen).references is not None


def test_a_failing_job_says_why_and_leaves_the_model_as_it_was(studio: Engine, request_of: Make) -> None:
    plain = pixels(draw(studio, request_of()))
    (studio.settings.data / "image_encoders" / "tower" / "model.safetensors").write_bytes(b"nothing")
    job = studio.submit(request_of(references=[{"image": bring(studio), "adapter": "mine"}]), OWNER)
    ending = events_of(studio, job.id)[-1]
    assert isinstance(ending, Failed)
    assert (ending.error.message, ending.error.field) == ("The image encoder tower cannot be loaded.", "references")
    assert pixels(draw(studio, request_of())) == plain


@pytest.mark.parametrize(
    ("references", "kind", "words"),
    [
        ([{"image": "f" * 64, "adapter": "mine"}], NotFound, "The reference picture is not here any more."),
        ([{"adapter": "nothing"}], ModelNotFound, "There is no reference adapter named nothing here."),
        ([{"adapter": "mine"}] * 5, InvalidRequest, "That would be more than 4 reference pictures."),
        ([{"adapter": "mine", "image_encoder": "none"}], ModelNotFound, "The reference adapter mine needs an image encoder"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_queued(studio: Engine, references: list[dict[str, Any]], kind: type[Exception], words: str) -> None:
    picture = bring(studio)
    with pytest.raises(kind) as caught:
        studio.submit(parse_request({"prompt": "x", "references": [{"image": picture, **one} for one in references]}), OWNER)
    assert str(caught.value).startswith(words)
    assert caught.value.field == "references"  # type: ignore[attr-defined]
    assert studio.jobs(OWNER) == []


def test_a_strangers_picture_is_no_reference(studio: Engine, request_of: Make) -> None:
    with pytest.raises(NotFound, match="The reference picture is not here"):
        studio.submit(request_of(references=[{"image": bring(studio, owner="somebody-else"), "adapter": "mine"}]), OWNER)


def test_a_model_without_an_adapter_says_what_to_do(studio: Engine) -> None:
    make_model(studio.settings.data / "models" / "tiny", in_channels=4)
    request = parse_request({"prompt": "x", "model": "tiny", "references": [{"image": bring(studio)}]})
    with pytest.raises(ModelNotFound) as caught:
        studio.submit(request, OWNER)
    assert caught.value.message.endswith("brings no reference adapter.")
    assert "data/ip_adapters" in caught.value.hint


def test_adapters_are_listed_without_a_restart(studio: Engine) -> None:
    assert "mine" in [card.name for card in studio.reference_adapters()]
    (studio.settings.data / "ip_adapters" / "faces.bin").write_bytes(b"\x80\x02.")
    card = next(one for one in studio.reference_adapters() if one.name == "faces")
    assert card.refusal is not None
    assert "pickle" in card.refusal
