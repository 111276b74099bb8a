"""The endpoints over pictures, from a program's side: what they stream, what they take, what they refuse, whose pictures are whose."""

from __future__ import annotations

import base64
import io
import re
import time
import urllib.request
from typing import Any

import numpy as np
import pytest
from gradio_client import Client
from PIL import Image

from engine import Edit, ImageToImage, Inpaint, InvalidRequest, Request, TextToImage, Upscale, parse_request
from engine.library.catalogue import read_card
from tests.conftest import STARTER
from tests.diffusion.ip_adapters import make_adapter, write_adapter, write_encoder
from tests.studio import Studio
from ui.api.parameters import MEANINGS, names_of
from ui.messages import sentence

SMALL = {"steps": 3, "width": 64, "height": 64, "seed": 4}
Messages = list[dict[str, Any]]


def png(image: Image.Image, kind: str = "PNG") -> str:
    content = io.BytesIO()
    image.save(content, kind)
    return base64.b64encode(content.getvalue()).decode()


def scene(width: int = 96, height: int = 64) -> Image.Image:
    image = Image.new("RGB", (width, height), "navy")
    image.paste("orange", (0, height // 2, width, height))
    return image


def square(box: tuple[int, int, int, int], size: tuple[int, int] = (96, 64)) -> Image.Image:
    mask = Image.new("L", size, 0)
    mask.paste(255, box)
    return mask


SOURCE = png(scene())


@pytest.fixture(scope="module")
def stranger(studio: Studio) -> Client:
    return Client(studio.url, verbose=False)


@pytest.fixture(scope="module")
def drawn(client: Client) -> dict[str, Any]:
    """The last message of a picture from a picture."""
    return messages(client, "/img2img", prompt="a castle", source=SOURCE, **SMALL)[-1]


def messages(client: Client, endpoint: str, **values: Any) -> Messages:
    return list(client.submit(**values, api_name=endpoint))


def recipe(done: dict[str, Any]) -> dict[str, Any]:
    return done["pictures"][0]["recipe"]


def pixels(studio: Studio, done: dict[str, Any]) -> Any:
    with urllib.request.urlopen(studio.url + done["pictures"][0]["url"], timeout=10) as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read())))


def refusal(client: Client, endpoint: str, **values: Any) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        client.predict(**values, api_name=endpoint)
    return str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "kind"), [("txt2img", TextToImage), ("img2img", ImageToImage), ("edit", Edit), ("inpaint", Inpaint), ("upscale", Upscale)]
)
def test_every_field_of_a_request_is_a_parameter_that_says_what_it_takes(client: Client, endpoint: str, kind: type[Request]) -> None:
    told: dict[str, Any] = client.view_api(return_format="dict", print_info=False)["named_endpoints"][f"/{endpoint}"]  # type: ignore[assignment,index]
    named = [one["parameter_name"] for one in told["parameters"]]
    assert set(named) == set(kind.model_fields) - {"mode"}
    assert {one["parameter_name"] for one in told["parameters"] if not one["parameter_has_default"]} == {
        name for name, field in kind.model_fields.items() if field.is_required()
    }
    assert set(names_of(kind)) <= set(MEANINGS)


def beyond(kind: type[Request]) -> list[tuple[str, float]]:
    """Each number of a request with a value just below its range and one just above."""
    found: list[tuple[str, float]] = []
    for name, schema in kind.model_json_schema()["properties"].items():
        one = {**schema, **next((part for part in schema.get("anyOf", ()) if part["type"] != "null"), {})}
        if one.get("type") in ("integer", "number") and "maximum" in one:
            step = one.get("multipleOf", 1)
            found.append((name, one["maximum"] + step))
            found.append((name, one["minimum"] - step if "minimum" in one else one["exclusiveMinimum"]))
    return found


def test_every_number_is_bounded_at_the_endpoint_as_in_the_contract(client: Client, studio: Studio) -> None:
    """The same refusal, to the letter, as the page and the terminal give. The ranges stand in what `tests/ui/test_mcp.py` reads."""
    values = beyond(TextToImage)
    assert len(values) >= 20
    for name, value in values:
        with pytest.raises(InvalidRequest) as caught:
            parse_request({"mode": "txt2img", "prompt": "x", name: value})
        assert refusal(client, "/txt2img", prompt="x", **{name: value}) == sentence(caught.value), name
    assert studio.health()["queued"] == 0


def test_img2img_streams_its_steps_and_ends_with_the_picture(client: Client, studio: Studio) -> None:
    stream = messages(
        client, "/img2img", prompt="a castle", source=f"data:image/png;base64,{SOURCE}", strength=0.5, fit="pad", **{**SMALL, "steps": 20}
    )
    assert {message["state"] for message in stream} <= {"waiting", "loading", "drawing", "done"}
    drawing = [message for message in stream if message["state"] == "drawing"]
    assert drawing[-1]["steps"] == 10
    assert {(one["tile"], one["tiles"]) for one in drawing} == {(0, 1)}
    assert stream[-1]["state"] == "done"
    made = recipe(stream[-1])
    assert (made["mode"], made["strength"], made["fit"], made["seed"]) == ("img2img", 0.5, "pad", 4)
    assert pixels(studio, stream[-1]).shape == (64, 64, 3)


def test_a_source_is_sent_once_and_then_named_by_its_hash(client: Client, drawn: dict[str, Any], studio: Studio) -> None:
    again = messages(client, "/img2img", prompt="a castle", source=recipe(drawn)["source"], **SMALL)[-1]
    assert recipe(again) == recipe(drawn)
    assert (pixels(studio, again) == pixels(studio, drawn)).all()


def test_a_result_goes_on_by_its_id(client: Client, drawn: dict[str, Any], studio: Studio) -> None:
    stream = messages(
        client, "/upscale", source=drawn["pictures"][0]["id"], factor=2, upscaler="lanczos", strength=0.5, overlap=16, **{**SMALL, "steps": 4}
    )
    assert pixels(studio, stream[-1]).shape == (128, 128, 3)
    assert {message["tiles"] for message in stream if message["state"] == "drawing" and message["tile"]} == {9}
    assert (recipe(stream[-1])["mode"], recipe(stream[-1])["factor"], recipe(stream[-1])["prompt"]) == ("upscale", 2, "")


def test_inpaint_leaves_the_rest_alone_whether_the_mask_is_a_file_or_strokes(client: Client, studio: Studio) -> None:
    strokes = [{"tool": "lasso", "points": [60, 20, 89, 20, 89, 49, 60, 49]}]
    values = {"prompt": "a castle", "source": SOURCE, "strength": 1, "feather": 0, "is_soft": True, "fill": "noise", "padding": 8, **SMALL}
    by_file = messages(client, "/inpaint", mask=png(square((60, 20, 90, 50))), **values)[-1]
    by_hand = messages(client, "/inpaint", mask=strokes, **values)[-1]
    assert recipe(by_file) == recipe(by_hand)
    by_hash = messages(client, "/inpaint", mask=recipe(by_hand)["mask"], **values)[-1]
    assert recipe(by_hash) == recipe(by_hand)
    changed = (pixels(studio, by_file) != np.asarray(scene())).any(axis=2)
    assert changed[20:50, 60:90].mean() > 0.9
    changed[20:50, 60:90] = False
    assert not changed.any()


def test_inpaint_grows_a_frame(client: Client, studio: Studio) -> None:
    done = messages(client, "/inpaint", prompt="a castle", source=SOURCE, expand_left=32, expand_bottom=8, region="whole", **SMALL)[-1]
    assert pixels(studio, done).shape == (72, 128, 3)


def test_a_result_can_be_a_mask(client: Client, drawn: dict[str, Any]) -> None:
    result = drawn["pictures"][0]["id"]
    done = messages(client, "/inpaint", prompt="a castle", source=result, mask=result, **SMALL)[-1]
    assert done["state"] == "done"


def test_variation_and_seamless_reach_every_endpoint(client: Client) -> None:
    more = {"variation_strength": 0.3, "variation_seed": 2, "seamless": "x", "model": "starter"}
    for endpoint, values in (("/txt2img", {}), ("/img2img", {"source": SOURCE})):
        made = recipe(messages(client, endpoint, prompt="a wall", **values, **more, **SMALL)[-1])
        assert {name: made[name] for name in more} == more


def test_what_was_changed_on_the_way_in_is_noted(client: Client, drawn: dict[str, Any]) -> None:
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    assert messages(client, "/img2img", prompt="x", source=png(clear), **SMALL)[-1]["notes"] == ["Transparent parts became white."]
    assert drawn["notes"] == []


def test_a_reference_may_be_a_file_a_hash_or_a_result(client: Client, drawn: dict[str, Any], studio: Studio) -> None:
    write_adapter(studio.data / "ip_adapters" / "mine.safetensors", make_adapter(read_card(STARTER)))
    write_encoder(studio.data / "image_encoders" / "tower")
    images = [SOURCE, f"data:image/png;base64,{SOURCE}", recipe(drawn)["source"], drawn["pictures"][0]["id"]]
    references = [{"image": image, "weight": 0.8, "adapter": "mine"} for image in images]
    made = recipe(messages(client, "/txt2img", prompt="a castle", references=references, **SMALL)[-1])["references"]
    assert {one["image"] for one in made[:3]} == {recipe(drawn)["source"]}
    assert made[3]["image"] != made[0]["image"]
    assert {(one["weight"], one["adapter"], one["image_encoder"]) for one in made} == {(0.8, "mine", "tower")}
    (own,) = recipe(messages(client, "/txt2img", prompt="a castle", references=[{"image": SOURCE}], **SMALL)[-1])["references"]
    assert (own["adapter"], own["image_encoder"]) == ("starter", "model")


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("/img2img", {"source": ""}, "The source picture cannot be read."),
    ("/img2img", {"source": None}, "There is no source picture."),
    ("/img2img", {"source": 7}, "The source picture cannot be read."),
    ("/img2img", {"source": "no base64!"}, "The source picture cannot be read."),
    ("/img2img", {"source": "/etc/passwd"}, "The source picture"),
    ("/img2img", {"source": "https://example.com/a.png"}, "The source picture cannot be read."),
    ("/img2img", {"source": "data:image/svg+xml,<svg/>"}, "The source picture cannot be read."),
    ("/img2img", {"source": base64.b64encode(b"<html></html>").decode()}, "This file is not a picture."),
    ("/img2img", {"source": SOURCE[: len(SOURCE) // 8 * 4]}, "This picture is damaged or cut short."),
    ("/img2img", {"source": png(Image.new("1", (9000, 9000)))}, "This picture is too large (9000 × 9000)."),
    ("/img2img", {"source": png(Image.new("RGB", (1, 1)))}, "This picture is only 1 × 1 pixels."),
    ("/img2img", {"source": "0" * 64}, "The source picture is not here any more."),
    ("/img2img", {"source": "0" * 32}, "This picture is not here."),
    ("/img2img", {"strength": 0}, "Strength cannot be 0. Choose a number above 0, up to 1."),
    ("/img2img", {"strength": 1.5}, "Strength cannot be 1.5."),
    ("/img2img", {"fit": "squeeze"}, "Fit cannot be 'squeeze'."),
    ("/img2img", {"variation_strength": 2}, "Variation cannot be 2."),
    ("/img2img", {"seamless": "z"}, "Seamless cannot be 'z'."),
    ("/img2img", {"references": [{"image": "no base64!"}]}, "The reference picture cannot be read."),
    ("/img2img", {"references": [{"image": 7}]}, "The reference picture cannot be read."),
    ("/img2img", {"references": [{"image": "0" * 64}]}, "The reference picture is not here any more."),
    ("/img2img", {"references": [{"image": base64.b64encode(b"<html></html>").decode()}]}, "This file is not a picture."),
    ("/img2img", {"references": [7]}, "There is no picture in reference picture 1."),
    ("/edit", {}, "Easel starter repaints; editing by a sentence needs FLUX.1 Kontext, Qwen-Image-Edit or FLUX.2 klein."),
    ("/edit", {"pictures": ["no base64!"]}, "The picture beside the source cannot be read."),
    ("/edit", {"pictures": ["0" * 64]}, "The picture beside the source is not here any more."),
    ("/edit", {"pictures": 7}, "More pictures cannot be 7."),
    ("/inpaint", {}, "Nothing is masked."),
    ("/inpaint", {"mask": []}, "The mask is empty."),
    ("/inpaint", {"mask": [{"tool": "spray"}]}, "The mask cannot be read."),
    ("/inpaint", {"mask": 5}, "The mask cannot be read."),
    ("/inpaint", {"mask": png(Image.new("L", (96, 64)))}, "The mask is empty."),
    ("/inpaint", {"mask": png(Image.new("L", (32, 32), 255))}, "The mask is 32 × 32 and the source 96 × 64."),
    ("/inpaint", {"mask": "0" * 64}, "The mask is not here any more."),
    ("/inpaint", {"mask": "0" * 32}, "This picture is not here."),
    ("/inpaint", {"expand_left": 5000}, "Grow left cannot be 5000."),
    ("/inpaint", {"expand_left": 8, "fill": "gold"}, "Fill cannot be 'gold'."),
    ("/inpaint", {"expand_left": 8, "feather": -1}, "Feather cannot be -1."),
    ("/inpaint", {"expand_left": 8, "is_soft": "perhaps"}, "Soft mask cannot be 'perhaps'."),
    ("/upscale", {"factor": 3}, "Enlarge cannot be 3. Choose 2 or 4."),
    ("/upscale", {"upscaler": "magic"}, "There is no upscaler named magic here."),
    ("/upscale", {"overlap": 4000}, "Overlap cannot be 4000."),
    ("/upscale", {"factor": 4, "source": png(Image.new("RGB", (2000, 1500)))}, "The result would have 48 megapixels."),
]


@pytest.mark.parametrize(("endpoint", "values", "words"), BAD, ids=[f"{endpoint[1:]} {words}" for endpoint, _, words in BAD])
@pytest.mark.timed
def test_bad_input_is_one_sentence_in_a_second(client: Client, studio: Studio, endpoint: str, values: dict[str, Any], words: str) -> None:
    begin = time.monotonic()
    said = refusal(client, endpoint, **{"prompt": "x", "source": SOURCE, **values})
    took = time.monotonic() - begin
    assert words in said
    assert not re.search(r"Traceback|/work|/tmp|\.py", said)
    assert studio.health()["queued"] == 0
    # Well under one on a quiet machine; here other work may share the cores.
    assert took < 5


def test_nobody_draws_from_a_strangers_pictures(client: Client, stranger: Client, drawn: dict[str, Any]) -> None:
    masked = messages(client, "/inpaint", prompt="x", source=SOURCE, mask=png(square((0, 0, 32, 32))), **SMALL)[-1]
    source, mask, result = recipe(masked)["source"], recipe(masked)["mask"], drawn["pictures"][0]["id"]
    assert "The source picture is not here any more." in refusal(stranger, "/img2img", prompt="x", source=source)
    assert "The source picture is not here any more." in refusal(stranger, "/inpaint", prompt="x", source=source, mask=mask)
    assert "This picture is not here." in refusal(stranger, "/upscale", source=result)
    own = png(scene().rotate(180))
    assert "The mask is not here any more." in refusal(stranger, "/inpaint", prompt="x", source=own, mask=mask)
    assert "This picture is not here." in refusal(stranger, "/inpaint", prompt="x", source=own, mask=result)


def test_a_large_picture_is_taken_whole(client: Client) -> None:
    grain = np.random.default_rng(0).integers(0, 256, (2400, 3200, 3), np.uint8)
    source = png(Image.fromarray(grain), "BMP")
    assert len(source) > 30_000_000
    done = messages(client, "/img2img", prompt="x", source=source, **SMALL)[-1]
    assert done["state"] == "done"


def test_a_control_unit_leads_and_has_to_be_there(client: Client) -> None:
    unit = {"image": SOURCE, "preprocessor": "canny", "settings": {"low": 30}, "weight": 0.9, "end": 0.8}
    ended = messages(client, "/controlnet", prompt="a castle", controls=[unit], **SMALL)[-1]
    recipe = ended["pictures"][0]["recipe"]
    assert recipe["mode"] == "txt2img"
    led = recipe["controls"][0]
    assert (led["control"], led["settings"], led["weight"], led["end"]) == ("starter-edges", {"low": 30, "high": 200}, 0.9, 0.8)
    # The hash of a picture that was sent before, and of the finished map.
    again = {**unit, "image": led["map"], "preprocessor": "none", "settings": {}, "control": "starter-edges"}
    assert messages(client, "/img2img", prompt="a castle", source=SOURCE, controls=[again], **SMALL)[-1]["state"] == "done"
    for controls, words in (([], "There is no control unit"), ([{**unit, "image": "?"}], "cannot be read"), ([{**unit, "weight": 9}], "cannot be 9")):
        assert words in refusal(client, "/controlnet", prompt="a castle", controls=controls, **SMALL)


def test_the_endpoint_asks_for_units_first() -> None:
    assert names_of(TextToImage, ("controls",))[:2] == ("prompt", "controls")
