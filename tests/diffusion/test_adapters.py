"""LoRA on a model: equal to diffusers' own for every layout, gone without a trace, and refused in words."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from engine.contract.adapters import LoraUse, merge_uses, take_tags
from engine.contract.errors import EngineError, IncompatibleAdapter, InvalidRequest, ModelNotFound
from engine.contract.recipe import Recipe
from engine.contract.requests import parse_request
from engine.diffusion.adapters import AdapterShelf, Lora
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.schedulers import build_scheduler
from engine.diffusion.text import PromptEncoder
from engine.library.catalogue import read_card as read_model_card
from engine.library.loras import Loras, read_card
from tests.conftest import STARTER
from tests.diffusion.loras import write
from tests.diffusion.tiny import make_model
from tests.faults.figures import Figures

LAYOUTS = ("diffusers", "peft", "kohya", "locon", "dora", "text")


@pytest.fixture(scope="module")
def components(tmp_path_factory: pytest.TempPathFactory) -> Components:
    folder = make_model(tmp_path_factory.mktemp("models") / "tiny", in_channels=4)
    return load_components(folder, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="module")
def files(components: Components, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("loras")
    return {name: write(folder / f"{name}.safetensors", components.unet, components.text_encoder, name, seed=k) for k, name in enumerate(LAYOUTS)}


def recipe() -> Recipe:
    return Recipe(
        model="tiny", model_hash="", prompt="a red castle", negative_prompt="blurry", steps=3, guidance_scale=4.0, scheduler="ddim", width=64,
        height=64, seed=5, count=1,
    )  # fmt: skip


def drawn(components: Components) -> torch.Tensor:
    *_, last = text_to_image(components, PromptEncoder(components), recipe())
    return last.latents.clone()


def theirs(components: Components, loras: list[tuple[Path, Any]]) -> torch.Tensor:
    """A pipeline of diffusers on freshly loaded components, with its own way to adapters."""
    fresh = load_components(components.folder, device=torch.device("cpu"), dtype=torch.float32)
    pipe: Any = StableDiffusionPipeline(
        vae=fresh.vae, text_encoder=fresh.text_encoder, tokenizer=fresh.tokenizer, unet=fresh.unet,
        scheduler=build_scheduler("ddim", fresh.scheduler_config), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    names = [f"style{k}" for k in range(len(loras))]
    for (path, _), name in zip(loras, names, strict=True):
        state = load_file(path)
        # PEFT's files of a bare model carry no part's name; the pipeline wants one.
        state = {f"unet.{key.removeprefix('base_model.model.')}" if key.startswith("base_model.") else key: value for key, value in state.items()}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            pipe.load_lora_weights(state, adapter_name=name)
    pipe.set_adapters(names, [weight for _, weight in loras])
    return pipe(
        recipe().prompt, negative_prompt="blurry", num_inference_steps=3, guidance_scale=4.0, width=64, height=64,
        generator=[torch.Generator().manual_seed(5)], output_type="latent",
    ).images  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_equals_diffusers_and_leaves_no_trace(components: Components, files: dict[str, Path], layout: str) -> None:
    shelf, before = AdapterShelf(), drawn(components)
    with shelf.applied(components, (Lora(files[layout], 0.7),)) as spoken:
        ours = drawn(components)
    assert bool(spoken) == (layout == "text")
    difference = float((ours - theirs(components, [(files[layout], 0.7)])).abs().max())
    print(f"{layout}: largest difference to diffusers {difference:.1e}, to no adapter {float((ours - before).abs().max()):.2f}")
    assert difference <= 1e-5
    assert float((ours - before).abs().max()) > 1e-3
    assert torch.equal(drawn(components), before)
    assert not any("lora" in name for name, _ in components.unet.named_parameters())
    assert not any("lora" in name for name, _ in components.text_encoder.named_parameters())


def test_two_at_once_equal_diffusers_and_order_does_not_matter(components: Components, files: dict[str, Path]) -> None:
    shelf, pair = AdapterShelf(), [(files["kohya"], 0.8), (files["text"], -0.5)]
    with shelf.applied(components, tuple(Lora(*one) for one in pair)):
        ours = drawn(components)
    with shelf.applied(components, tuple(Lora(*one) for one in reversed(pair))):
        turned = drawn(components)
    assert float((ours - theirs(components, pair)).abs().max()) <= 1e-5
    # Sums in another order round otherwise.
    assert float((ours - turned).abs().max()) <= 1e-5 * float(ours.abs().max())


@pytest.mark.parametrize("layout", ["kohya", "dora", "text"])
@pytest.mark.parametrize(
    ("blocks", "same"),
    [
        ({"down": 0.9, "mid": 0.5, "up": 0.2}, {"down": 0.9, "mid": 0.5, "up": 0.2}),
        ({"up": 0.0}, {"up": 0.0}),
        ({"down": 0.5, "up.1": 1.4, "up.1.0": -0.3}, {"down": 0.5, "up": {"block_1": [-0.3, 1.4]}}),
    ],
)
def test_weights_of_blocks_equal_diffusers(
    components: Components, files: dict[str, Path], layout: str, blocks: dict[str, float], same: dict[str, Any]
) -> None:
    def scaled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: scaled(one) for name, one in value.items()}
        return [scaled(one) for one in value] if isinstance(value, list) else value * 0.7

    before = drawn(components)
    with AdapterShelf().applied(components, (Lora(files[layout], 0.7, blocks),)):
        ours = drawn(components)
    # What diffusers is not told is 1, not the adapter's weight.
    told = {"unet": scaled({"down": 1.0, "mid": 1.0, "up": 1.0, **same}), "text_encoder": 0.7}
    reference = theirs(components, [(files[layout], told)])
    difference = float((ours - reference).abs().max())
    print(f"{layout} {blocks}: largest difference to diffusers {difference:.1e}")
    assert difference <= 1e-5
    with AdapterShelf().applied(components, (Lora(files[layout], 0.7),)):
        assert float((drawn(components) - ours).abs().max()) > 1e-3
    assert torch.equal(drawn(components), before)


def test_a_block_is_all_of_it(components: Components, files: dict[str, Path]) -> None:
    """Convolutions too, also in the middle and where there is no attention: with every block at 0 nothing is left."""
    before, nothing = drawn(components), {"down": 0.0, "mid": 0.0, "up": 0.0}
    with AdapterShelf().applied(components, (Lora(files["locon"], 0.7, nothing),)):
        assert torch.equal(drawn(components), before)
    with AdapterShelf().applied(components, (Lora(files["locon"], 0.7, {"down": 1.0}),)):
        whole = drawn(components)
    with AdapterShelf().applied(components, (Lora(files["locon"], 0.7),)):
        assert torch.equal(drawn(components), whole)


@pytest.mark.parametrize("block", ["up.9", "down.0.7"])
def test_a_block_that_is_not_there_is_refused(components: Components, files: dict[str, Path], block: str) -> None:
    before = drawn(components)
    with pytest.raises(InvalidRequest) as caught, AdapterShelf().applied(components, (Lora(files["kohya"], 0.7, {block: 0.5}),)):
        pass
    assert str(caught.value).startswith(f"The LoRA kohya has a weight for {block}, and this model has no such block.")
    assert caught.value.field == "loras"
    assert torch.equal(drawn(components), before)


def test_blocks_in_words() -> None:
    blocks = {"down": 0.5, "up.1.0": -1.0}
    use = LoraUse(name="a", blocks=blocks)
    assert merge_uses((use,), (use,)) == (LoraUse(name="a", weight=2.0, blocks=blocks),)
    assert LoraUse(name="a", blocks={"down": 1.0}).blocks is None
    with pytest.raises(InvalidRequest, match="twice, with different weights"):
        merge_uses((use,), (LoraUse(name="a"),))
    for bad in ({"sideways": 1}, {"mid.0": 1}, {"up": 3}, {"up": float("nan")}, {"up.1.0.0": 1}, "up"):
        with pytest.raises(InvalidRequest) as caught:
            parse_request({"prompt": "x", "loras": [{"name": "a", "blocks": bad}]})
        assert caught.value.field == "loras"
        assert "blocks are down, mid, up" in caught.value.hint


def test_weight_nothing_is_nothing(components: Components, files: dict[str, Path]) -> None:
    before = drawn(components)
    with AdapterShelf().applied(components, (Lora(files["kohya"], 0.0),)):
        assert torch.equal(drawn(components), before)


def test_a_run_that_raises_leaves_the_model_whole(components: Components, files: dict[str, Path]) -> None:
    before = drawn(components)
    weights = {name: value.clone() for name, value in components.unet.state_dict().items()}
    with pytest.raises(RuntimeError, match="on purpose"), AdapterShelf().applied(components, (Lora(files["text"], 1.0),)):
        raise RuntimeError("on purpose")
    assert torch.equal(drawn(components), before)
    after = components.unet.state_dict()
    assert list(after) == list(weights)
    assert all(torch.equal(after[name], value) for name, value in weights.items())


def _odd(folder: Path, kind: str, good: Path) -> Path:
    path, state = folder / f"{kind}.safetensors", load_file(good)
    match kind:
        case "nan":
            next(iter(state.values()))[0] = float("nan")
            save_file(state, path)
        case "truncated":
            path.write_bytes(good.read_bytes()[:-200])
        case "pickled":
            torch.save(state, path)
        case "empty":
            save_file({"nothing": torch.zeros(1)}, path)
        case "other-family":
            pairs = sorted({key.rsplit(".lora_", 1)[0] for key in state})
            names = {key: f"transformer.single_transformer_blocks.{number}.attn.to_q" for number, key in enumerate(pairs)}
            save_file({key.replace(one, name): state[key] for one, name in names.items() for key in state if key.startswith(f"{one}.lora_")}, path)
        case "other-width":
            save_file({key: torch.cat([value] * 3, 1) if value.ndim == 2 and "lora_A" in key else value for key, value in state.items()}, path)
        case "loha":
            save_file({"lora_unet_down.hada_w1_a": torch.zeros(2, 2)}, path)
        case _:
            save_file({key: value for key, value in state.items() if "lora_B" not in key}, path)
    return path


@pytest.mark.fault("wrong adapter")
@pytest.mark.parametrize("kind", ["nan", "truncated", "pickled", "empty", "other-family", "other-width", "loha", "half"])
def test_bad_files_are_one_sentence_and_the_model_is_untouched(
    components: Components, files: dict[str, Path], tmp_path: Path, kind: str, figure: Figures
) -> None:
    """Adapters with NaN, cut short, pickled, empty, of another family or width, of another kind, or half of one"""
    path, before = _odd(tmp_path, kind, files["diffusers"]), drawn(components)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(EngineError) as caught, AdapterShelf().applied(components, (Lora(path, 1.0),)):
            pass
    assert caught.value.field == "loras"
    assert kind in caught.value.message or path.name in caught.value.message
    figure("base picture changed by", float((drawn(components) - before).abs().max()), equals=0)


def test_the_rack_refuses_before_anything_runs(files: dict[str, Path], tmp_path: Path) -> None:
    for kind in ("truncated", "pickled", "empty", "other-family", "other-width", "loha"):
        _odd(tmp_path, kind, files["diffusers"])
    (tmp_path / "good.safetensors").write_bytes(files["diffusers"].read_bytes())
    rack, model = Loras([tmp_path]), read_model_card(STARTER)
    assert [use.hash is not None for use in rack.resolve([LoraUse(name="good")], model)] == [True]
    for kind in ("pickled", "empty", "other-family", "other-width", "loha"):
        with pytest.raises(IncompatibleAdapter) as caught:
            rack.resolve([LoraUse(name=kind)], model)
        assert caught.value.field == "loras"
    for name in ("nothing", "..", "GOOD"):
        with pytest.raises(ModelNotFound):
            rack.path(name)
    assert read_card(tmp_path / "good.safetensors").made_for == "the starter"


def test_tags_in_words() -> None:
    assert take_tags("a castle <lora:ink:0.7> at night<LORA:neon>") == (
        "a castle at night", (LoraUse(name="ink", weight=0.7), LoraUse(name="neon")),
    )  # fmt: skip
    assert take_tags("a  castle < lora:x >") == ("a  castle < lora:x >", ())
    for bad in ("<lora:../../x:1>", "<lora::1>", "<lora:x:much>", "<lora:x:3>", "<lora:x:nan>", f"<lora:{'x' * 100}>"):
        with pytest.raises(InvalidRequest) as caught:
            take_tags(f"a castle {bad}")
        assert caught.value.field == "loras"


def test_uses_merge_by_name() -> None:
    a, b = LoraUse(name="a", weight=0.5), LoraUse(name="b", weight=-1)
    assert merge_uses((a, b), (LoraUse(name="a", weight=0.25),)) == (LoraUse(name="a", weight=0.75), b)
    assert merge_uses((a,), (LoraUse(name="a", weight=-0.5),)) == ()
    with pytest.raises(InvalidRequest):
        merge_uses((LoraUse(name="a", weight=1.5), LoraUse(name="a", weight=1.5)))
    with pytest.raises(InvalidRequest):
        merge_uses(tuple(LoraUse(name=str(k)) for k in range(9)))
