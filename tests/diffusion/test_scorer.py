"""Scores of pictures against words: the starter's own, a stock CLIP folder by the same door, and what is told when a folder is damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from engine.contract.errors import DamagedFile, ModelNotFound
from engine.diffusion.images import to_pixels
from engine.diffusion.scorer import Scorer, has_scorer, load_scorer
from engine.starter.attributes import SceneLabels
from engine.starter.scenes import draw
from tests.conftest import STARTER

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return load_scorer(STARTER, device=CPU)


def scene(subject: str, colour: str, place: str = "hills", seed: int = 3, size: int = 256) -> torch.Tensor:
    return to_pixels(draw(SceneLabels(subject, place, "day", colour), seed, size).image)


def test_the_right_words_score_highest(scorer: Scorer) -> None:
    pictures = torch.cat([scene("castle", "red"), scene("tree", "green"), scene("balloon", "blue"), scene("car", "white")])
    texts = ["a red castle", "a green tree", "a blue balloon", "a white car"]
    table = scorer.image_features(pictures) @ scorer.text_features(texts).T
    assert table.argmax(1).tolist() == [0, 1, 2, 3]
    assert torch.allclose(scorer.score(pictures, texts), table.diagonal(), atol=1e-5)
    assert torch.allclose(scorer.score(pictures, texts[:1]), table[:, 0], atol=1e-5)


def test_the_size_of_a_picture_hardly_matters(scorer: Scorer) -> None:
    small, large = (scorer.score(scene("castle", "red", size=size), ["a red castle"]) for size in (128, 512))
    assert abs(float(small - large)) < 0.05


def test_gradients_reach_the_picture_and_raise_the_score(scorer: Scorer) -> None:
    picture = (scene("castle", "white") * 0.5).requires_grad_()
    before = scorer.score(picture, ["a red castle"])
    (gradient,) = torch.autograd.grad(before.sum(), picture)
    assert float(gradient.abs().max()) > 0
    with torch.no_grad():
        after = scorer.score(picture + 2.0 * gradient / gradient.norm(), ["a red castle"])
    assert float(after) > float(before.detach())


def test_a_stock_clip_folder_scores_as_clip_does(tmp_path: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(STARTER / "tokenizer")
    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    vision = CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8)
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).eval()
    clip.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    settings = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    scorer = load_scorer(tmp_path, device=CPU)
    pictures, texts = torch.rand(3, 3, 32, 32) * 2 - 1, ["a red castle", "at night"]
    pixels = (pictures / 2 + 0.5 - torch.tensor(settings["image_mean"]).view(1, 3, 1, 1)) / torch.tensor(settings["image_std"]).view(1, 3, 1, 1)
    ids = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        wanted = clip(input_ids=ids.input_ids, attention_mask=ids.attention_mask, pixel_values=pixels).logits_per_image
        ours = scorer.logit_scale * scorer.image_features(pictures) @ scorer.text_features(texts).T
    assert np.allclose(ours.numpy(), wanted.numpy(), atol=1e-4)


@pytest.mark.parametrize("part", ["scorer.safetensors", "image_encoder/model.safetensors", "feature_extractor/preprocessor_config.json"])
def test_a_damaged_scorer_is_said_in_words(tmp_path: Path, part: str) -> None:
    folder = tmp_path / "starter"
    for name in ("image_encoder", "feature_extractor", "text_encoder", "tokenizer"):
        shutil.copytree(STARTER / name, folder / name)
    shutil.copy(STARTER / "scorer.safetensors", folder)
    (folder / part).write_bytes((folder / part).read_bytes()[:200])
    with pytest.raises(DamagedFile, match="scorer of starter"):
        load_scorer(folder, device=CPU)


def test_a_folder_without_one_says_so(tmp_path: Path) -> None:
    assert has_scorer(STARTER)
    assert not has_scorer(tmp_path)
    with pytest.raises(ModelNotFound, match="brings nothing that scores"):
        load_scorer(tmp_path, device=CPU)
