"""Maps of the picture's own size from every preprocessor that runs here; networks with random weights, so that the wiring is real."""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
import torch

from engine.contract.controls import check_settings
from engine.contract.errors import DamagedFile
from engine.contract.preprocessors import PREPROCESSORS, Kind
from engine.contract.work import MapTask
from engine.diffusion.preprocessors import ROWS, MapMaker
from tests.pictures import Rgb, scene


@pytest.fixture(scope="module")
def maker() -> MapMaker:
    return MapMaker(device="cpu")


@pytest.fixture(scope="module")
def aux() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import controlnet_aux
    return controlnet_aux


def make(maker: MapMaker, folder: Path, name: str, image: Rgb, weights: Path | None = None, **settings: float) -> tuple[Rgb, str]:
    source = folder / "source.png"
    cv2.imwrite(str(source), image[..., ::-1])
    chosen = settings if weights else check_settings(name, settings)
    made = maker.make(MapTask(name, chosen, source, weights))
    return np.frombuffer(made.rgb, np.uint8).reshape(made.height, made.width, 3), made.note


def test_the_tables_agree() -> None:
    assert ROWS.keys() | {"depth", "depth_anything"} == PREPROCESSORS.keys()
    for name, facts in PREPROCESSORS.items():
        assert facts.kind in get_args(Kind)
        assert check_settings(name, {}) == {knob.name: knob.default for knob in facts.knobs}
        assert all(len(one.revision) == 40 for one in facts.weights)


@pytest.mark.parametrize("size", [(64, 64), (75, 131), (16, 300)])
@pytest.mark.parametrize("name", ["canny", "lineart_standard", "shuffle", "depth"])
def test_a_map_has_the_size_of_its_picture(maker: MapMaker, tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    image = scene(*size)
    first, _ = make(maker, tmp_path, name, image)
    again, _ = make(maker, tmp_path, name, image)
    assert first.shape == image.shape
    assert first.any()
    assert np.array_equal(first, again)


def test_canny_is_canny(maker: MapMaker, tmp_path: Path) -> None:
    """No resizing blurs it: every value is black or white, and where the border is far the edges are OpenCV's own."""
    image = scene(150, 110)
    made, _ = make(maker, tmp_path, "canny", image, low=60, high=120)
    own = cv2.Canny(image, 60, 120)
    assert set(np.unique(made)) == {0, 255}
    assert np.array_equal(made[:-4, :-4, 0], own[:-4, :-4])


def test_settings_and_seeds_count(maker: MapMaker, tmp_path: Path) -> None:
    image = scene(128, 96)
    state = np.random.get_state()[1].copy()  # type: ignore[index]
    few, many = (make(maker, tmp_path, "canny", image, low=low, high=200)[0].mean() for low in (190, 10))
    assert few < many
    one, other = (make(maker, tmp_path, "shuffle", image, seed=seed)[0] for seed in (1, 2))
    assert not np.array_equal(one, other)
    assert np.array_equal(np.random.get_state()[1], state)  # type: ignore[index]


def test_a_flat_picture_says_that_nothing_was_found(maker: MapMaker, tmp_path: Path) -> None:
    for name in ("canny", "lineart_standard"):
        made, note = make(maker, tmp_path, name, np.full((70, 90, 3), 128, np.uint8))
        assert not made.any()
        assert note == "Nothing was found: the map is empty."


def test_a_giant_is_looked_at_smaller_and_says_so(maker: MapMaker, tmp_path: Path) -> None:
    made, note = make(maker, tmp_path, "canny", cv2.resize(scene(128, 64), (4096, 1024)))  # type: ignore[arg-type]
    assert made.shape == (512, 2048, 3)
    assert note == "The map was made at 2048 × 512."


def hed(aux: Any, folder: Path) -> None:
    torch.save(aux.hed.ControlNetHED_Apache2().state_dict(), folder / "ControlNetHED.pth")


def lineart(aux: Any, folder: Path) -> None:
    for name in ("sk_model.pth", "sk_model2.pth"):
        torch.save(aux.lineart.Generator(3, 1, 3).state_dict(), folder / name)


def pidinet(aux: Any, folder: Path) -> None:
    torch.save({"state_dict": {f"module.{key}": value for key, value in aux.pidi.pidinet().state_dict().items()}}, folder / "table5_pidinet.pth")


@pytest.mark.parametrize(("name", "write"), [("hed", hed), ("lineart", lineart), ("pidinet", pidinet)])
def test_networks_with_random_weights_run(maker: MapMaker, tmp_path: Path, aux: Any, name: str, write: Any) -> None:
    torch.manual_seed(1)
    write(aux, tmp_path)
    options = {knob.name: 0.0 for knob in PREPROCESSORS[name].knobs} | {"resolution": 64.0}
    image = scene(75, 131)
    made, _ = make(maker, tmp_path, name, image, tmp_path, **options)
    assert made.shape == image.shape
    start = time.perf_counter()
    again, _ = make(maker, tmp_path, name, image, tmp_path, **options)
    print(f"{name} at 64 with its network kept: {(time.perf_counter() - start) * 1000:.0f} ms")
    assert np.array_equal(made, again)


def test_depth_by_a_network_of_transformers(maker: MapMaker, tmp_path: Path) -> None:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    torch.manual_seed(2)
    backbone = Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=56, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, neck_hidden_sizes=[4, 8, 16, 16], fusion_hidden_size=8, head_hidden_size=8
    )
    network = DepthAnythingForDepthEstimation(config)
    for value in network.parameters():
        # Fresh weights are so small that every depth is the same.
        value.data = torch.randn(value.shape) * 0.3
    network.save_pretrained(tmp_path)
    words = {
        "image_processor_type": "DPTImageProcessor", "do_resize": True, "size": {"height": 56, "width": 56}, "ensure_multiple_of": 14,
        "keep_aspect_ratio": True, "do_rescale": True, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }  # fmt: skip
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(words))
    image = scene(75, 131)
    made, _ = make(maker, tmp_path, "depth_anything", image, tmp_path)
    assert made.shape == image.shape
    assert (made.min(), made.max()) == (0, 255)


def test_spoilt_weights_are_said_in_words(maker: MapMaker, tmp_path: Path) -> None:
    (tmp_path / "ControlNetHED.pth").write_bytes(b"\x80\x04N.nonsense")
    with pytest.raises(DamagedFile, match=r"The weights of Soft edges \(HED\) cannot be read") as caught:
        make(maker, tmp_path, "hed", scene(64, 64), tmp_path, resolution=64, safe=0, scribble=0)
    assert caught.value.field == "controls"
