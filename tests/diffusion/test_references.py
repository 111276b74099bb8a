"""Reference pictures on a model: equal to diffusers' own IP-Adapter, gone without a trace, and refused in words."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from diffusers.pipelines.pag.pipeline_pag_sd import StableDiffusionPAGPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load, save_file

from engine.contract.errors import EngineError
from engine.contract.guidance import GuidanceStyle
from engine.contract.recipe import Recipe
from engine.contract.references import ReferenceUse
from engine.diffusion.adapters import AdapterShelf, Lora
from engine.diffusion.conditioning import Seen, Told
from engine.diffusion.image_encoder import load_image_encoder
from engine.diffusion.images import read_rgb
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.references import Reference, ReferenceShelf
from engine.diffusion.schedulers import build_scheduler
from engine.diffusion.text import PromptEncoder
from engine.library.catalogue import read_card
from tests.diffusion.ip_adapters import make_adapter, write_adapter, write_encoder
from tests.diffusion.loras import write
from tests.diffusion.tiny import make_model

KINDS = ("linear", "plus", "full")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def components(tmp_path_factory: pytest.TempPathFactory) -> Components:
    folder = make_model(tmp_path_factory.mktemp("models") / "tiny", in_channels=4)
    return load_components(folder, device=CPU, dtype=torch.float32)


@pytest.fixture(scope="module")
def room(components: Components, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters of each kind, a second linear one, a vision tower, three pictures, a LoRA."""
    root = tmp_path_factory.mktemp("references")
    for seed, kind in enumerate(KINDS):
        write_adapter(root / f"{kind}.safetensors", make_adapter(read_card(components.folder), kind, seed=seed))
    write_adapter(root / "other.safetensors", make_adapter(read_card(components.folder), seed=9))
    write_encoder(root / "tower")
    rng = torch.Generator().manual_seed(1)
    for name, size in (("a", (64, 48)), ("b", (40, 40)), ("c", (32, 80))):
        pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=rng, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(root / f"{name}.png")
    write(root / "lora.safetensors", components.unet, components.text_encoder, "kohya", seed=4)
    return root


def reference(room: Path, picture: str = "a", adapter: str = "linear", **facts: Any) -> Reference:
    digest = hashlib.sha256(picture.encode()).hexdigest()
    use = ReferenceUse(image=digest, **{"weight": 1.0, **facts})
    return Reference(use, room / f"{picture}.png", room / f"{adapter}.safetensors", room / "tower")


def recipe(**fields: Any) -> Recipe:
    return Recipe(
        **{
            "model": "tiny", "model_hash": "", "prompt": "a red castle", "negative_prompt": "blurry", "steps": 4, "guidance_scale": 4.0,
            "scheduler": "ddim", "width": 64, "height": 64, "seed": 5, "count": 1, **fields,
        }
    )  # fmt: skip


def drawn(components: Components, *references: Reference, shelf: ReferenceShelf | None = None, **fields: Any) -> torch.Tensor:
    prompts = PromptEncoder(components)
    with (shelf or ReferenceShelf()).applied(components, references) as shown, prompts.showing(shown):
        *_, last = text_to_image(components, prompts, recipe(**fields))
    return last.latents.clone()


def tables(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {
        part: {key.removeprefix(f"{part}."): value for key, value in load(path.read_bytes()).items() if key.startswith(f"{part}.")}
        for part in ("image_proj", "ip_adapter")
    }


class Theirs:
    """diffusers' pipeline on freshly loaded components, with its own way to reference pictures."""

    def __init__(self, components: Components, room: Path, adapters: list[str], cls: Any = StableDiffusionPipeline) -> None:
        fresh = load_components(components.folder, device=CPU, dtype=torch.float32)
        more = {"pag_applied_layers": ["mid"]} if cls is StableDiffusionPAGPipeline else {}
        self.pipe: Any = cls(
            vae=fresh.vae, text_encoder=fresh.text_encoder, tokenizer=fresh.tokenizer, unet=fresh.unet,
            scheduler=build_scheduler("ddim", fresh.scheduler_config), safety_checker=None, feature_extractor=None,
            requires_safety_checker=False, **more,
        )  # fmt: skip
        self.pipe.set_progress_bar_config(disable=True)
        self.room, self.adapters = room, adapters
        paths = [room / f"{name}.safetensors" for name in adapters]
        empty = [""] * len(paths)
        self.pipe.load_ip_adapter([tables(path) for path in paths], subfolder=empty, weight_name=empty, image_encoder_folder=None)

    def embedding(self, picture: str, adapter: str) -> torch.Tensor:
        encoder = load_image_encoder(self.room / "tower", device=CPU, dtype=torch.float32)
        shown, nothing = encoder.embed(read_rgb(self.room / f"{picture}.png"), patches=adapter in ("plus", "full"))
        return torch.stack([nothing, shown])

    def draw(self, pictures: list[list[str]], scales: Any, guidance: float = 4.0, count: int = 1, **more: Any) -> torch.Tensor:
        """`pictures` are those of each adapter."""
        self.pipe.set_ip_adapter_scale(scales)
        embeds = [
            torch.cat([self.embedding(picture, adapter) for picture in several], dim=1)
            for several, adapter in zip(pictures, self.adapters, strict=True)
        ]
        if guidance <= 1:
            embeds = [pair[1:] for pair in embeds]
        return self.pipe(
            "a red castle", negative_prompt="blurry", num_inference_steps=4, guidance_scale=guidance, width=64, height=64,
            generator=[torch.Generator().manual_seed(5 + k) for k in range(count)], num_images_per_prompt=count,
            ip_adapter_image_embeds=embeds, output_type="latent", **more,
        ).images  # fmt: skip


def check_equal(name: str, ours: torch.Tensor, theirs: torch.Tensor, plain: torch.Tensor) -> None:
    # Against the size of the values: the untrained model lets them grow.
    size = float(theirs.abs().max())
    difference, effect = float((ours - theirs).abs().max()) / size, float((ours - plain).abs().max()) / size
    print(f"{name}: largest difference to diffusers {difference:.1e}, to no reference {effect:.2f}")
    assert difference <= 1e-5
    assert effect > 1e-2


@pytest.mark.parametrize(("guidance", "count"), [(4.0, 1), (1.0, 1), (4.0, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_one_picture_equals_diffusers(components: Components, room: Path, kind: str, guidance: float, count: int) -> None:
    ours = drawn(components, reference(room, adapter=kind, weight=0.7), guidance_scale=guidance, count=count)
    theirs = Theirs(components, room, [kind]).draw([["a"]], 0.7, guidance, count)
    check_equal(f"{kind} guidance {guidance} count {count}", ours, theirs, drawn(components, guidance_scale=guidance, count=count))


def test_the_picture_itself_equals_diffusers(components: Components, room: Path) -> None:
    """Through the vision tower and its own preparation of the picture, not only from embeddings."""
    theirs = Theirs(components, room, ["linear"])
    encoder = load_image_encoder(room / "tower", device=CPU, dtype=torch.float32)
    theirs.pipe.register_modules(image_encoder=encoder.model, feature_extractor=encoder.processor)
    theirs.pipe.set_ip_adapter_scale(0.7)
    made = theirs.pipe(
        "a red castle", negative_prompt="blurry", num_inference_steps=4, guidance_scale=4.0, width=64, height=64,
        generator=[torch.Generator().manual_seed(5)], ip_adapter_image=Image.open(room / "a.png"), output_type="latent",
    ).images  # fmt: skip
    check_equal("from the picture", drawn(components, reference(room, weight=0.7)), made, drawn(components))


def test_several_adapters_equal_diffusers(components: Components, room: Path) -> None:
    ours = drawn(components, reference(room, "a", "linear", weight=0.5), reference(room, "b", "plus", weight=1.2))
    theirs = Theirs(components, room, ["linear", "plus"]).draw([["a"], ["b"]], [0.5, 1.2])
    check_equal("two adapters", ours, theirs, drawn(components))


def test_several_pictures_equal_diffusers_both_ways(components: Components, room: Path) -> None:
    """The same adapter once for each picture, and once for all of them with a weight and a mask of ones for each."""
    ours = drawn(components, reference(room, "a", weight=0.5), reference(room, "b", weight=0.9), reference(room, "c", weight=0.3))
    thrice = Theirs(components, room, ["linear"] * 3).draw([["a"], ["b"], ["c"]], [0.5, 0.9, 0.3])
    masks = {"ip_adapter_masks": [torch.ones(1, 3, 64, 64)]}
    once = Theirs(components, room, ["linear"]).draw([["a", "b", "c"]], [[0.5, 0.9, 0.3]], cross_attention_kwargs=masks)
    check_equal("three pictures, three adapters", ours, thrice, drawn(components))
    check_equal("three pictures, one adapter", ours, once, drawn(components))


def test_style_only_equals_the_same_blocks_of_diffusers(components: Components, room: Path) -> None:
    ours = drawn(components, reference(room, weight=0.8, style_only=True), reference(room, "b", "other", weight=0.4))
    theirs = Theirs(components, room, ["linear", "other"]).draw([["a"], ["b"]], [{"up": {"block_1": [0.8, 0.8]}}, 0.4])
    check_equal("style only", ours, theirs, drawn(components))
    everywhere = drawn(components, reference(room, weight=0.8), reference(room, "b", "other", weight=0.4))
    assert float((ours - everywhere).abs().max()) > 1e-2


@pytest.mark.parametrize(("said", "scales"), [("down_blocks.", {"down": 0.8}), ("nowhere.", {"up": {"block_1": 0.8}})])
def test_a_file_may_say_where_its_model_carries_style(components: Components, room: Path, said: str, scales: dict[str, Any]) -> None:
    """A name that the model does not have counts as nothing said."""
    path = room / "linear.safetensors"
    with safe_open(path, "pt") as file:
        save_file({key: file.get_tensor(key) for key in file.keys()}, room / "said.safetensors", metadata={"style_layers": said})  # noqa: SIM118
    ours = drawn(components, reference(room, "a", "said", weight=0.8, style_only=True))
    theirs = Theirs(components, room, ["linear"]).draw([["a"]], [scales])
    check_equal(f"style where {said} is said", ours, theirs, drawn(components))


def test_windows_equal_scales_that_change_with_the_steps(components: Components, room: Path) -> None:
    windows = [{"weight": 0.8, "end": 0.5}, {"weight": 0.6, "start": 0.25, "end": 0.75}]
    ours = drawn(components, reference(room, "a", **windows[0]), reference(room, "b", "other", **windows[1]))
    theirs = Theirs(components, room, ["linear", "other"])
    # What diffusers weighs at each of four steps; the callback of a step sets the next one.
    steps = [[0.8, 0.0], [0.8, 0.6], [0.0, 0.6], [0.0, 0.0]]

    def after(pipe: Any, index: int, _timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        pipe.set_ip_adapter_scale(steps[min(index + 1, 3)])
        return values

    made = theirs.draw([["a"], ["b"]], steps[0], callback_on_step_end=after)
    check_equal("windows", ours, made, drawn(components))


@pytest.mark.parametrize(("guidance", "count"), [(4.0, 1), (4.0, 3), (1.0, 2)])
def test_guidance_that_looks_once_more_sees_the_pictures_too(components: Components, room: Path, guidance: float, count: int) -> None:
    """PAG's third pass is of the prompt's half, with its pictures; without guidance there are no other halves."""
    fields: dict[str, Any] = {"guidance_scale": guidance, "count": count, "guidance_style": "pag", "perturbed_scale": 3.0}
    ours = drawn(components, reference(room, weight=0.7), reference(room, "b", "plus", weight=0.4), **fields)
    theirs = Theirs(components, room, ["linear", "plus"], StableDiffusionPAGPipeline)
    made = theirs.draw([["a"], ["b"]], [0.7, 0.4], guidance, count, pag_scale=3.0)
    check_equal(f"PAG guidance {guidance} count {count}", ours, made, drawn(components, **fields))


@pytest.mark.parametrize("style", get_args(GuidanceStyle))
def test_every_guidance_style_goes_with_references(components: Components, room: Path, style: GuidanceStyle) -> None:
    fields: dict[str, Any] = {"guidance_style": style, "guidance_start": 0.25, "guidance_end": 0.75}
    fields["perturbed_scale"] = 3.0 if style in ("pag", "seg") else None
    before, plain = state_of(components), drawn(components, **fields)
    pictures = drawn(components, reference(room), **fields)
    assert torch.isfinite(pictures).all()
    assert not torch.equal(pictures, plain)
    assert torch.equal(drawn(components, reference(room, weight=0.0), **fields), plain)
    check_untouched(components, before)


def test_no_weight_and_an_empty_window_are_nothing(components: Components, room: Path) -> None:
    plain = drawn(components)
    assert torch.equal(drawn(components, reference(room, weight=0.0)), plain)
    assert torch.equal(drawn(components, reference(room, start=0.5, end=0.5)), plain)
    # Between two steps lies no step.
    assert torch.equal(drawn(components, reference(room, start=0.3, end=0.4)), plain)
    alone = drawn(components, reference(room, "b", "other"))
    assert torch.equal(drawn(components, reference(room, "b", "other"), reference(room, weight=0.0)), alone)
    assert torch.equal(drawn(components, reference(room, weight=0.0), reference(room, "b", "other")), alone)


def test_any_call_works_while_adapters_are_in(components: Components, room: Path) -> None:
    """diffusers fails here; a picture without references has to come out as ever."""
    plain = drawn(components)
    with ReferenceShelf().applied(components, [reference(room)]):
        *_, last = text_to_image(components, PromptEncoder(components), recipe())
        assert torch.equal(last.latents, plain)


def test_a_batch_is_its_pictures(components: Components, room: Path) -> None:
    together = drawn(components, reference(room, weight=0.9), count=3)
    for k in range(3):
        alone = drawn(components, reference(room, weight=0.9), seed=5 + k)[0]
        assert float((together[k] - alone).abs().max()) <= 1e-5 * float(alone.abs().max())


@contextmanager
def both(components: Components, room: Path, order: str) -> Iterator[torch.Tensor]:
    """LoRA and reference put in and taken out in an order."""
    prompts, lora = PromptEncoder(components), AdapterShelf().applied(components, (Lora(room / "lora.safetensors", 0.8),))
    pictures = ReferenceShelf().applied(components, [reference(room, adapter="plus")])
    with ExitStack() as stack:
        if order == "lora first":
            stack.enter_context(lora)
        shown = stack.enter_context(pictures)
        if order == "lora second":
            stack.enter_context(lora)
        with prompts.showing(shown):
            *_, last = text_to_image(components, prompts, recipe())
        yield last.latents


def test_a_lora_goes_with_references_in_any_order(components: Components, room: Path) -> None:
    plain = drawn(components)
    with both(components, room, "lora first") as first:
        pass
    assert torch.equal(drawn(components), plain)
    with both(components, room, "lora second") as second:
        pass
    assert torch.equal(first, second)
    assert torch.equal(drawn(components), plain)
    assert not torch.equal(first, drawn(components, reference(room, adapter="plus")))


def test_words_that_change_on_the_way_go_with_references(components: Components, room: Path) -> None:
    changing = drawn(components, reference(room), prompt="a [red:blue:0.5] castle")
    assert not torch.equal(changing, drawn(components, reference(room)))
    assert not torch.equal(changing, drawn(components, prompt="a [red:blue:0.5] castle"))


def test_told_slices_like_its_words() -> None:
    """Guidance that looks once more at the words of one half takes their pictures along."""
    told = Told(torch.arange(6.0).reshape(6, 1, 1), (Seen(1, torch.arange(6.0).reshape(6, 1, 1) + 10, 0.5),))
    half = told[-2:]
    assert len(half) == 2
    assert half.words.flatten().tolist() == [4, 5]
    assert half.seen[0].tokens.flatten().tolist() == [14, 15]
    assert (half.seen[0].place, half.seen[0].weight) == (1, 0.5)


def test_a_third_pass_over_the_words_of_one_half_is_their_own(components: Components, room: Path) -> None:
    """The rows of a pass are the same whichever others run beside them."""
    prompts = PromptEncoder(components)
    with ReferenceShelf().applied(components, [reference(room)]) as shown, prompts.showing(shown), torch.inference_mode():
        from engine.diffusion.modes.beginning import embeds_of

        made: Any = embeds_of(recipe(), prompts)
        told, sample = made(0, 4), torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
        unet: Any = components.unet
        pair = unet(torch.cat([sample] * 2), 500, **told.inputs(), return_dict=False)[0]
        alone = unet(sample, 500, **told[-1:].inputs(), return_dict=False)[0]
    assert float((pair[1:] - alone).abs().max()) <= 1e-5


def state_of(components: Components) -> tuple[dict[str, torch.Tensor], dict[str, Any], dict[str, Any]]:
    unet: Any = components.unet
    return {name: value.clone() for name, value in unet.state_dict().items()}, dict(unet.attn_processors), dict(unet.config)


def check_untouched(components: Components, before: tuple[dict[str, torch.Tensor], dict[str, Any], dict[str, Any]]) -> None:
    weights, processors, config = state_of(components)
    assert list(weights) == list(before[0])
    assert all(torch.equal(weights[name], value) for name, value in before[0].items())
    assert list(processors) == list(before[1])
    assert all(processors[name] is value for name, value in before[1].items())
    assert config == before[2]
    unet: Any = components.unet
    assert unet.encoder_hid_proj is None


def test_a_run_leaves_no_trace_also_when_it_raises(components: Components, room: Path) -> None:
    before, plain = state_of(components), drawn(components)
    drawn(components, reference(room), reference(room, "b", "plus"))
    check_untouched(components, before)
    with pytest.raises(RuntimeError, match="on purpose"), ReferenceShelf().applied(components, [reference(room)]):
        raise RuntimeError("on purpose")
    check_untouched(components, before)
    assert torch.equal(drawn(components), plain)


def test_a_picture_is_looked_at_once(components: Components, room: Path) -> None:
    shelf, own = ReferenceShelf(), room / "own"
    own.mkdir()
    for name in ("a.png", "linear.safetensors"):
        shutil.copy(room / name, own / name)
    shutil.copytree(room / "tower", own / "tower")
    first = drawn(components, reference(own), shelf=shelf)
    (own / "a.png").unlink()
    shutil.rmtree(own / "tower")
    assert torch.equal(drawn(components, reference(own), shelf=shelf), first)


def _odd(folder: Path, kind: str, good: Path) -> None:
    """The adapter or vision tower in `folder` spoiled."""
    path, state = folder / "linear.safetensors", load(good.read_bytes())
    match kind:
        case "nan":
            state["ip_adapter.1.to_k_ip.weight"][0] = float("nan")
            save_file(state, path)
        case "truncated":
            path.write_bytes(good.read_bytes()[:-200])
        case "pickled":
            torch.save(state, path)
        case "nothing":
            save_file({"x": torch.zeros(1)}, path)
        case "other-family":
            save_file({key: torch.cat([value] * 3, -1) if "_ip." in key else value for key, value in state.items()}, path)
        case "missing-layer":
            save_file({key: value for key, value in state.items() if not key.startswith("ip_adapter.3.")}, path)
        case "missing-half":
            save_file({key: value for key, value in state.items() if "1.to_v_ip" not in key}, path)
        case "missing-projection":
            save_file({key: value for key, value in state.items() if "proj.bias" not in key}, path)
        case "no-projection":
            save_file({key: value for key, value in state.items() if "image_proj" not in key}, path)
        case "other-encoder":
            shutil.rmtree(folder / "tower")
            write_encoder(folder / "tower", embedding=40)
        case "encoder-truncated":
            file = folder / "tower" / "model.safetensors"
            file.write_bytes(file.read_bytes()[:-100])
        case "encoder-nan":
            file = folder / "tower" / "model.safetensors"
            weights = load(file.read_bytes())
            weights["visual_projection.weight"][0] = float("nan")
            save_file(weights, file, metadata={"format": "pt"})
        case "encoder-missing-keys":
            file = folder / "tower" / "model.safetensors"
            weights = {key: value for key, value in load(file.read_bytes()).items() if "visual_projection" not in key}
            save_file(weights, file, metadata={"format": "pt"})
        case _:
            (folder / "a.png").write_bytes(b"nothing")


ODD = (
    "nan", "truncated", "pickled", "nothing", "other-family", "missing-layer", "missing-half", "missing-projection", "no-projection",
    "other-encoder", "encoder-truncated", "encoder-nan", "encoder-missing-keys", "picture",
)  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_bad_files_are_one_sentence_and_the_model_is_untouched(components: Components, room: Path, tmp_path: Path, kind: str) -> None:
    for name in ("a.png", "linear.safetensors"):
        shutil.copy(room / name, tmp_path / name)
    shutil.copytree(room / "tower", tmp_path / "tower")
    before, plain = state_of(components), drawn(components)
    _odd(tmp_path, kind, room / "linear.safetensors")
    with pytest.raises(EngineError) as caught, ReferenceShelf().applied(components, [reference(tmp_path)]):
        pass
    print(f"{kind}: {caught.value}")
    assert caught.value.field == "references"
    assert any(name in caught.value.message for name in ("linear", "tower", "picture"))
    assert caught.value.hint
    check_untouched(components, before)
    assert torch.equal(drawn(components), plain)


def test_a_file_that_changed_since_it_was_asked_for_is_not_used(components: Components, room: Path) -> None:
    asked = reference(room, hash="0" * 64)
    with pytest.raises(EngineError, match="has changed since"), ReferenceShelf().applied(components, [asked]):
        pass
