"""Words of one's own: vectors in the place of a word's own, nothing changed behind them, and refusals that name the prompt."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine import Engine, EngineError, Failed, InvalidRequest, Settings, parse_request
from engine.contract.embeddings import named_embeddings
from engine.diffusion.embeddings import load_embedding
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.text import PromptEncoder
from engine.diffusion.voices import LearningVoice
from engine.library.metadata import read_recipe
from tests.conftest import OWNER, STARTER, events_of
from tests.diffusion.families import STEPS, make_family, pipeline
from tests.diffusion.originals import make_pair
from tests.diffusion.test_families import recipe as recipe_of
from tests.pictures import draw, read

SMALL = {"steps": 2, "width": 64, "height": 64, "seed": 5}


@pytest.fixture(scope="module")
def components() -> Components:
    return load_components(STARTER, device=torch.device("cpu"), dtype=torch.float32)


def vectors_of(components: Components, text: str) -> torch.Tensor:
    """The model's own vectors of some words: an embedding of these has to be as good as the words."""
    ids = components.tokenizer(text, add_special_tokens=False).input_ids
    return components.text_encoder.get_input_embeddings().weight[ids].detach().clone()


def weights_of(components: Components) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in components.text_encoder.state_dict().items()}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, components: Components) -> Iterator[Engine]:
    with Engine(Settings(data=tmp_path_factory.mktemp("data"), worker="inline", dtype="float32", device="cpu")) as running:
        folder = running.settings.data / "embeddings"
        folder.mkdir()
        save_file({"emb_params": vectors_of(components, "red castle")}, folder / "my-duo.safetensors")
        save_file({"<mine>": vectors_of(components, "castle")[0]}, folder / "mine.safetensors")
        save_file({"emb_params": torch.ones(1, 768)}, folder / "wide.safetensors")
        save_file({"emb_params": torch.full((2, 256), float("nan"))}, folder / "nan.safetensors")
        save_file({"clip_l": torch.ones(1, 768), "clip_g": torch.ones(1, 1280)}, folder / "sdxl.safetensors")
        save_file({"emb_params": torch.ones(76, 256)}, folder / "many.safetensors")
        save_file({"a": torch.ones(1, 256), "b": torch.ones(1, 256)}, folder / "two.safetensors")
        whole = (folder / "mine.safetensors").read_bytes()
        (folder / "short.safetensors").write_bytes(whole[:-9])
        (folder / "noise.safetensors").write_bytes(b"\xff" * 400)
        (folder / "hidden.safetensors").write_bytes(pickle.dumps({"x": 1}))
        (folder / "plain.pt").write_bytes(pickle.dumps({"x": 1}))
        save_file({"emb_params": torch.ones(1, 256)}, folder / "Ink.safetensors")
        save_file({"emb_params": torch.ones(2, 256)}, folder / "ink.safetensors")
        yield running


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a red mine at night", "a red castle at night"), ("a red <mine> at night", "a red castle at night"), ("a MINE.", "a castle."),
        ("a duo at night", "a red castle at night"), ("a (mine:1.3)", "a (castle:1.3)"), ("a [mine|duo]", "a castle"), ("mine" + " a" * 80, "castle" + " a" * 80),
        ("a BREAK mine", "a BREAK castle"), ("a miner, demine, mine-shaft, <lora:mine:1>", "a miner, demine, mine-shaft, <lora:mine:1>"),
    ],
)  # fmt: skip
def test_a_word_of_ones_own_is_as_good_as_the_words(components: Components, text: str, same: str) -> None:
    prompts = PromptEncoder(components)
    before = weights_of(components)
    plain = prompts.encode(same, None)
    with prompts.knowing({"mine": vectors_of(components, "castle"), "duo": vectors_of(components, "red castle")}, {"mine": "1", "duo": "2"}):
        assert torch.equal(prompts.encode(text, None), plain)
        assert torch.equal(prompts.encode("x", text)[0], prompts.encode("x", same)[0])
    assert torch.equal(prompts.encode(same, None), plain)
    assert all(torch.equal(value, before[name]) for name, value in components.text_encoder.state_dict().items())
    assert not components.text_encoder.get_input_embeddings()._forward_hooks


def test_the_vectors_of_one_stay_together(components: Components) -> None:
    prompts = PromptEncoder(components)
    with prompts.knowing({"duo": torch.ones(2, 256)}, {"duo": "2"}):
        assert [len(run) for run in prompts.chunks("a " * 74 + "duo")] == [74, 2]
        assert [len(run) for run in prompts.chunks("a " * 73 + "duo")] == [75]


def test_nothing_stays_when_the_encoder_raises(components: Components) -> None:
    prompts = PromptEncoder(components)
    with pytest.raises(RuntimeError), prompts.knowing({"mine": torch.ones(1, 999)}, {"mine": "1"}):
        prompts.encode("a mine", None)
    assert not components.text_encoder.get_input_embeddings()._forward_hooks
    assert torch.equal(prompts.encode("a mine", None), PromptEncoder(components).encode("a mine", None))


def test_a_picture_with_an_embedding_has_its_hash_and_comes_back(engine: Engine) -> None:
    (picture,) = draw(engine, "txt2img", prompt="a my-duo at night", negative_prompt="blurry", **SMALL)
    (same,) = draw(engine, "txt2img", prompt="a red castle at night", negative_prompt="blurry", **SMALL)
    card = next(card for card in engine.embeddings() if card.name == "my-duo")
    assert read_recipe(picture.path).embeddings == {"my-duo": card.content_hash}
    assert (card.vectors, card.widths, card.refusal) == (2, (256,), None)
    assert same.recipe.embeddings is None
    assert read(picture).tobytes() == read(same).tobytes()
    assert engine.submit(picture.recipe.to_request(), OWNER).recipe == picture.recipe


def test_each_picture_has_the_embeddings_of_its_own_words(engine: Engine) -> None:
    batch = draw(engine, "txt2img", prompt="a {mine|my-duo|ship}", count=6, **SMALL)
    for picture in batch:
        named = {"a mine": {"mine"}, "a my-duo": {"my-duo"}, "a ship": set[str]()}[picture.recipe.prompt]
        assert set(picture.recipe.embeddings or {}) == named
        assert engine.submit(picture.recipe.to_request(), OWNER).recipe.embeddings == picture.recipe.embeddings


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wide", "vectors of 768 numbers"), ("nan", "no numbers"), ("sdxl", "vectors of 768 and 1280 numbers"), ("many", "no list of 1 to 75"), ("two", "no list of"),
        ("short", "damaged"), ("noise", "damaged"), ("hidden", "damaged"), ("plain", "is a pickle"), ("INK", "Ink or ink"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_sentence_about_the_prompt(engine: Engine, name: str, said: str, field: str) -> None:
    try:
        job = engine.submit(parse_request({"prompt": "a castle", **SMALL, field: f"a <{name}>"}), OWNER)
        ending = events_of(engine, job.id)[-1]
        assert isinstance(ending, Failed)
        error = ending.error
    except EngineError as refused:
        error = refused
    assert said in error.message
    assert error.field == field
    assert name in error.message


def test_a_file_that_changed_since_is_refused(engine: Engine) -> None:
    path = engine.settings.data / "embeddings" / "late.safetensors"
    save_file({"emb_params": torch.ones(1, 256)}, path)
    job = engine.submit(parse_request({"prompt": "late", **SMALL}), OWNER)
    events_of(engine, job.id)
    save_file({"emb_params": torch.zeros(1, 256)}, path)
    again = events_of(engine, engine.duplicate(job.id, OWNER).id)[-1]
    assert isinstance(again, Failed)
    assert "has changed" in again.error.message


def test_names_differ_by_capitals_only_where_they_have_to() -> None:
    assert named_embeddings("an Ink and ink", ["ink", "Ink"]) == ("Ink", "ink")
    assert named_embeddings("INK-2, ink.", ["ink", "ink-2"]) == ("ink-2", "ink")
    with pytest.raises(InvalidRequest, match="Ink or ink"):
        named_embeddings("INK", ["ink", "Ink"])


@pytest.mark.parametrize(
    "text",
    ["", "a red castle", "(a:1.2) BREAK b", "a my-duo, <mine>", "zeppelin " * 30, "[a:" + "b " * 90 + ":0.5]", "🏰 замок", "a " * 74 + "my-duo"],
)
def test_the_counter_counts_as_the_encoder_reads(engine: Engine, components: Components, text: str) -> None:
    prompts = PromptEncoder(components)
    (counted,) = engine.words(text)
    with prompts.knowing({"my-duo": torch.ones(2, 256), "mine": torch.ones(1, 256)}, {"my-duo": "1", "mine": "2"}):
        last = text.replace("[a:", "").replace(":0.5]", "")
        assert counted.chunks == len(prompts.chunks(last))
        assert counted.tokens == sum(map(len, prompts.chunks(last)))
    assert (counted.encoder, counted.room) == ("tokenizer", 75)


def test_unknown_words_are_told(engine: Engine) -> None:
    (counted,) = engine.words("a red zeppelin, <nobody>, <mine>, (castle:1.2) BREAK {ship|boat}")
    assert counted.unknown == ("<nobody>", "zeppelin")
    assert counted.embeddings == ("mine",)
    assert engine.words("(((" + "x" * 100_000)[0].chunks > 1


@pytest.mark.parametrize(
    ("text", "is_mostly"),
    [
        ("", False), ("a red castle in the mountains at sunset", False), ("a red zeppelin over the sea", False), ("ein rotes Schloss am Meer", True),
        ("steampunk zeppelin over victorian london", True), ("замок на холме", True), ("赤い城", True), ("🏰🌅", True), ("mine <my-duo>", False), ("1234", False),
    ],
)  # fmt: skip
def test_a_prompt_that_is_mostly_new_to_the_model_is_told_from_one_with_a_new_word(engine: Engine, text: str, is_mostly: bool) -> None:
    assert engine.words(text)[0].is_mostly_unknown is is_mostly


def test_the_last_chunk_is_counted_on_its_own(engine: Engine) -> None:
    (counted,) = engine.words("a " * 80)
    assert (counted.chunks, counted.tokens, counted.last) == (2, 80, 5)


def test_older_tokenizer_folders_are_read_too(components: Components, tmp_path: Path) -> None:
    from engine.library.vocabulary import count_words

    whole = json.loads((STARTER / "tokenizer" / "tokenizer.json").read_text())["model"]
    folder = tmp_path / "model" / "tokenizer"
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(whole["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in whole["merges"]) + "\n")
    text = "a Red castle's zeppelin, 42 🏰"
    (counted,) = count_words(text, folder.parent, [], lists=lambda name, control: ())
    assert counted.tokens == sum(map(len, PromptEncoder(components).chunks(text)))


def test_counting_brings_no_torch(tmp_path: Path) -> None:
    code = f"import sys; from engine import Engine, Settings; Engine(Settings(data={str(tmp_path)!r})).words('a (castle:1.2)'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=60, check=False).returncode == 0


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models beside the first ones: two encoders of 16 and 24 numbers, and one of OpenCLIP's of 64."""
    room = tmp_path_factory.mktemp("others")
    return {"sdxl": make_family(room / "xl", "sdxl"), "sd2": make_pair(room, "sd2")[0]}


def heard_at_its_end(components: Components) -> Components:
    """What the whole prompt comes to is read at its end. Old settings say 2 for that token, and mean the one with the largest number: a learned one."""
    if "text_encoder_2" in components.parts:
        components.parts["text_encoder_2"].text_model.eos_token_id = components.parts["tokenizer_2"].eos_token_id
    return components


@pytest.mark.parametrize("prompt", ["a red <mine> at night", "<mine>, a castle of <mine>"])
@pytest.mark.parametrize("kind", ["sdxl", "sd2"])
def test_a_learned_word_equals_diffusers(others: dict[str, Path], kind: str, prompt: str, tmp_path: Path) -> None:
    torch.manual_seed(8)
    widths = {"sdxl": (16, 24), "sd2": (64,)}[kind]
    vectors = [torch.randn(3, width) for width in widths]
    names = ("clip_l", "clip_g") if len(widths) == 2 else ("emb_params",)
    file = tmp_path / "mine.safetensors"
    save_file(dict(zip(names, vectors, strict=True)), file)
    loaded = [load_components(others[kind], device=torch.device("cpu"), dtype=torch.float32) for _ in range(2)]
    ours, fresh = (heard_at_its_end(replace(one, scheduler_config=STEPS)) for one in loaded)
    assert isinstance(ours.voice, LearningVoice)
    assert ours.voice.widths == widths
    asked = recipe_of(ours, prompt=prompt)
    plain = asked.model_copy(update={"prompt": "a red thing at night"})
    learned = load_embedding("mine", file, widths=widths, digest=hashlib.sha256(file.read_bytes()).hexdigest(), field="prompt")
    prompts = PromptEncoder(ours)
    *_, without = text_to_image(ours, prompts, plain)
    with prompts.knowing({"mine": learned}, {"mine": "1"}):
        *_, last = text_to_image(ours, prompts, asked)
    pipe = pipeline(fresh, "txt2img")
    for number, each in enumerate(vectors):
        suffix = "_2" if number else ""
        encoder, tokenizer = (getattr(pipe, f"{part}{suffix}") for part in ("text_encoder", "tokenizer"))
        pipe.load_textual_inversion({"<mine>": each}, token="<mine>", text_encoder=encoder, tokenizer=tokenizer)
    given = {
        "prompt": prompt, "negative_prompt": asked.negative_prompt, "num_inference_steps": asked.steps, "guidance_scale": asked.guidance_scale, "width": asked.width, "height": asked.height,
        "generator": [torch.Generator().manual_seed(asked.seed)], "output_type": "latent",
    }  # fmt: skip
    theirs = pipe(**given).images
    away = float((last.latents - theirs).abs().max())
    print(f"{kind}: largest difference {away:.1e}; without the word {float((without.latents - theirs).abs().max()):.2f}")
    assert away <= 1e-5
    assert float((without.latents - theirs).abs().max()) > 1e-2


PAIRS: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "narrow": ({"clip_l": torch.ones(1, 16), "clip_g": torch.ones(1, 16)}, "vectors of 16 and 16 numbers and xl reads 40 in two text encoders"),
    "alone": ({"emb_params": torch.ones(1, 40)}, "vectors of 40 numbers and xl reads 40 in two text encoders"),
    "swapped": ({"clip_l": torch.ones(1, 24), "clip_g": torch.ones(1, 16)}, "vectors of 24 and 16 numbers and the model reads 16 and 24"),
    "uneven": ({"clip_l": torch.ones(1, 16), "clip_g": torch.ones(2, 24)}, "no list of 1 to 75 vectors"),
    "half": ({"clip_l": torch.ones(1, 16), "x": torch.ones(1, 24)}, "no list of 1 to 75 vectors"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_two_encoders_want_two_widths(others: dict[str, Path], name: str, tmp_path: Path) -> None:
    tensors, said = PAIRS[name]
    shutil.copytree(others["sdxl"], tmp_path / "models" / "xl")
    (tmp_path / "embeddings").mkdir()
    save_file(tensors, tmp_path / "embeddings" / f"{name}.safetensors")
    save_file({"clip_l": torch.ones(2, 16), "clip_g": torch.ones(2, 24)}, tmp_path / "embeddings" / "good.safetensors")
    with Engine(Settings(data=tmp_path, worker="inline", dtype="float32", device="cpu")) as running:
        wish = {"model": "xl", "scheduler": "euler", **SMALL}
        made = draw(running, "txt2img", prompt="a <good> castle", **wish)[0]
        assert set(made.recipe.embeddings or {}) == {"good"}
        try:
            job = running.submit(parse_request({"prompt": f"a <{name}> castle", **wish}), OWNER)
            ending = events_of(running, job.id)[-1]
            assert isinstance(ending, Failed)
            error = ending.error
        except EngineError as refused:
            error = refused
    assert said in error.message
    assert (error.field, name in error.message) == ("prompt", True)
