"""The LoRA rack over plain HTTP: small pictures out, files in, and who may."""

from __future__ import annotations

import io
import json

import torch
from PIL import Image
from safetensors.torch import save

from tests.studio import Studio
from tests.ui.test_routes import call

TENSORS = {"unet.a.attn2.to_k.lora_A.weight": torch.ones(2, 256), "unet.a.attn2.to_k.lora_B.weight": torch.ones(8, 2)}


def test_a_picture_of_an_adapter_is_a_small_jpeg(studio: Studio) -> None:
    status, content = call(studio, "/loras/neon.jpg", visitor=None, header=False)
    assert status == 200
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.size) == ("JPEG", (128, 128))
    for name in ("nothing", "..%2f..%2fsecret", "neon.safetensors"):
        assert call(studio, f"/loras/{name}.jpg")[0] == 404


def test_a_file_goes_into_the_rack(studio: Studio) -> None:
    status, content = call(studio, "/loras?name=brought.safetensors", save(TENSORS))
    assert status == 200
    found = json.loads(content)
    assert found["name"] == "brought"
    assert "brought" in [card["name"] for card in found["cards"]]
    assert str(studio.data) not in content.decode()
    status, content = call(studio, "/loras?name=brought.safetensors", save(TENSORS))
    assert (status, json.loads(content)["field"]) == (422, "loras")


def test_only_the_page_brings_files(studio: Studio) -> None:
    assert call(studio, "/loras?name=x.safetensors", save(TENSORS), header=False)[0] == 403
    assert call(studio, "/loras?name=x.safetensors", save(TENSORS), visitor=None)[0] == 403
    for name in ("", "x.ckpt", "..", "%00.safetensors"):
        assert call(studio, f"/loras?name={name}", save(TENSORS))[0] == 422


def test_only_the_page_asks_the_hub(studio: Studio) -> None:
    wanted = json.dumps({"name": "../../etc/passwd"}).encode()
    for path in ("/hub/loras", "/hub/loras/fetch", "/hub/preprocessors/fetch"):
        assert call(studio, path, wanted, header=False, kind="application/json")[0] == 403
        assert call(studio, path, wanted, visitor=None, kind="application/json")[0] == 403
        assert call(studio, path, b'{"name": 1}', kind="application/json")[0] == 422
    status, content = call(studio, "/hub/loras", wanted, kind="application/json")
    assert (status, json.loads(content)["field"]) == (422, "loras")
    # A fetch tells its ending in its last line.
    for path, field in (("/hub/loras/fetch", "loras"), ("/hub/preprocessors/fetch", "controls")):
        status, content = call(studio, path, wanted, kind="application/json")
        assert status == 200
        assert json.loads(content.splitlines()[-1])["error"]["field"] == field
