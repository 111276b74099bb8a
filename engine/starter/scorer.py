"""The starter's scorer, how well a picture fits words: `python -m engine.starter.scorer`. Resumes where it stopped."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionConfig, CLIPVisionModelWithProjection

from engine.contract.errors import DamagedFile
from engine.starter.attributes import SceneLabels
from engine.starter.captions import HELD_OUT_WORDS, SYNONYMS, caption_and_said
from engine.starter.course import Course, chance, follow
from engine.starter.text_encoder import ATTRIBUTES
from engine.starter.views import EDGE, Views, load_views

WIDTH, PROJECTION = 160, 128
# About 4 in 10 captions say one to three things only: that is how people search.
_BRIEF = 0.4
_UNSAID = -1
_SCALE_MAX = math.log(100)
# One value in 0…1 for all channels: 2x − 1.
_EXTRACTOR: dict[str, Any] = {
    "image_processor_type": "CLIPImageProcessor", "do_convert_rgb": True, "do_resize": True, "size": {"shortest_edge": EDGE}, "resample": 3,
    "do_center_crop": True, "crop_size": {"height": EDGE, "width": EDGE}, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
}  # fmt: skip


@dataclass(frozen=True)
class ScorerPlan:
    batch: int = 64
    # Share of the pictures that the denoiser imagined on its way, and captions made wrong in one word beside each true one.
    imagined: float = 0.3
    wrong: float = 0.5
    words_weight: float = 1.0


class Pair(nn.Module):
    """The vision tower, the projection of the frozen text encoder's pooled state, and the scale of the score (Radford et al. 2021)."""

    def __init__(self, text_width: int) -> None:
        super().__init__()
        self.vision: Any = CLIPVisionModelWithProjection(vision_config())
        # Attention written out learns twice as fast on a CPU as the fused kernel, whose backward pass is slow.
        self.vision.set_attn_implementation("eager")
        self.text_projection = nn.Linear(text_width, PROJECTION, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))


def vision_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=4, num_attention_heads=WIDTH // 32, image_size=EDGE, patch_size=16,
        projection_dim=PROJECTION, hidden_act="quick_gelu",
    )  # fmt: skip


class Lessons:
    """Batches of pictures, captions and which goes with which, and the loss on them."""

    def __init__(self, views: Views, model: Path, plan: ScorerPlan, seed: int) -> None:
        self._views, self._plan, self._seed = views, plan, seed
        self._tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
        self._text_encoder: Any = CLIPTextModel.from_pretrained(model / "text_encoder", dtype=torch.bfloat16).eval().requires_grad_(False)
        self.pair = Pair(self._text_encoder.config.hidden_size)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        rng, generator = chance(self._seed, step)
        pictures, labels = self._pictures(rng)
        texts, stated = captions_of(labels, rng, wrong=self._plan.wrong)
        prompts, of = attribute_prompts(rng)
        with torch.autocast("cpu", torch.bfloat16):
            seen = self.pair.vision(soften(pictures, rng, generator)).image_embeds
        heard = self.pair.text_projection(self.pooled([*texts, *prompts]).float())
        seen, heard = F.normalize(seen.float(), dim=1), F.normalize(heard, dim=1)
        logits = self.pair.logit_scale.clamp(max=_SCALE_MAX).exp() * seen @ heard.T
        truth = is_true(values_of(labels), stated)
        loss = matching_loss(logits[:, : len(texts)], truth)
        words = words_loss(logits[:, len(texts) :], of, labels)
        chosen = torch.from_numpy(truth).gather(1, logits[:, : len(texts)].argmax(1, keepdim=True))
        return loss + self._plan.words_weight * words, {"words": words.item(), "right": chosen.float().mean().item()}

    def pooled(self, texts: list[str]) -> torch.Tensor:
        """(N, 256): the frozen encoder's state at the end of each text. Causal, so padding beyond the longest changes nothing."""
        words: Any = self._tokenizer
        ids = words(texts, padding=True, truncation=True, max_length=words.model_max_length, return_tensors="pt").input_ids
        with torch.no_grad():
            return self._text_encoder(ids).pooler_output

    def _pictures(self, rng: np.random.Generator) -> tuple[torch.Tensor, list[SceneLabels]]:
        """(B, 3, 128, 128) in [-1, 1] and what is in them; half are mirrored, and left is right then."""
        views, chosen = self._views, list[NDArray[np.uint8]]()
        labels: list[SceneLabels] = []
        for _ in range(self._plan.batch):
            if rng.random() < self._plan.imagined:
                at = int(rng.integers(len(views.rows)))
                picture, row = views.imagined[at], int(views.rows[at])
            else:
                row = int(rng.integers(len(views.scenes)))
                picture = views.scenes[row]
            one = views.labels[row]
            if rng.random() < 0.5:
                picture = picture[:, ::-1]
                one = replace(one, position={"left": "right", "right": "left"}.get(one.position, one.position))
            chosen.append(picture)
            labels.append(one)
        return torch.from_numpy(np.stack(chosen)).permute(0, 3, 1, 2).float() / 127.5 - 1, labels


def captions_of(labels: list[SceneLabels], rng: np.random.Generator, *, wrong: float) -> tuple[list[str], NDArray[np.int64]]:
    """A caption of each scene, then as many again times `wrong` that are false in one thing; (T, 9) what each states, -1 where nothing."""
    asked = list(labels)
    asked += [_altered(labels[int(rng.integers(len(labels)))], rng) for _ in range(int(wrong * len(labels)))]
    texts: list[str] = []
    stated = values_of(asked)
    for row, one in enumerate(asked):
        text, said = _brief(one, rng) if rng.random() < _BRIEF else caption_and_said(one, rng)
        texts.append(text)
        stated[row, [name not in said for name in ATTRIBUTES]] = _UNSAID
    return texts, stated


def _altered(labels: SceneLabels, rng: np.random.Generator) -> SceneLabels:
    name = list(ATTRIBUTES)[int(rng.integers(len(ATTRIBUTES)))]
    others = [value for value in ATTRIBUTES[name] if value != getattr(labels, name)]
    return replace(labels, **{name: others[int(rng.integers(len(others)))]})


def _brief(labels: SceneLabels, rng: np.random.Generator) -> tuple[str, frozenset[str]]:
    """One to three things in a few words: "a red castle", "at night", "a pale tower in fog"."""
    names = list(ATTRIBUTES)
    said = frozenset(names[int(at)] for at in rng.choice(len(names), int(rng.integers(1, 4)), replace=False))
    if rng.random() < 0.5:
        said |= {"subject"}
    words = {name: _synonym(getattr(labels, name), rng) for name in said}
    # A number would need the plural; it stands alone or not at all.
    if "count" in said and "subject" in said:
        said -= {"count"}
    noun = " ".join(words[name] for name in ("colour", "subject") if name in said)
    rest = [words[name] for name in ATTRIBUTES if name in said and name not in ("colour", "subject")]
    article = ("a ", "the ", "a picture of a ", "")[int(rng.integers(4))] if "subject" in said else ""
    return ", ".join(part for part in (article + noun, *rest) if part), said


def attribute_prompts(rng: np.random.Generator) -> tuple[list[str], dict[str, slice]]:
    """A few words for every value of every attribute, and where each attribute's stand in the list."""
    prompts: list[str] = []
    of: dict[str, slice] = {}
    for name, values in ATTRIBUTES.items():
        of[name] = slice(len(prompts), len(prompts) + len(values))
        article = ("a ", "a picture of a ", "")[int(rng.integers(3))] if name == "subject" else ""
        prompts += [article + _synonym(value, rng) for value in values]
    return prompts, of


def _synonym(value: str, rng: np.random.Generator) -> str:
    options = [word for word in SYNONYMS[value] if word not in HELD_OUT_WORDS]
    return options[0] if rng.random() < 0.5 else options[int(rng.integers(len(options)))]


def values_of(labels: list[SceneLabels]) -> NDArray[np.int64]:
    """(N, 9) the place of each label in its list."""
    return np.array([[values.index(getattr(one, name)) for name, values in ATTRIBUTES.items()] for one in labels])


def is_true(shown: NDArray[np.int64], stated: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(B, T): whether everything that text t states holds for picture b. Captions leave things out, so several may be true of one."""
    return ((stated[None] == _UNSAID) | (stated[None] == shown[:, None])).all(2)


def matching_loss(logits: torch.Tensor, truth: NDArray[np.bool_]) -> torch.Tensor:
    """The symmetric loss of CLIP (fig. 3) on (B, T) logits, each picture's share spread over all captions that are true of it, and the other way."""
    goal = torch.from_numpy(truth).float()
    by_picture = F.cross_entropy(logits, goal / goal.sum(1, keepdim=True))
    # Captions made wrong may be true of no picture here.
    has_any = goal.sum(0) > 0
    by_text = F.cross_entropy(logits.T[has_any], (goal / goal.sum(0).clamp(min=1)).T[has_any])
    return (by_picture + by_text) / 2


def words_loss(logits: torch.Tensor, of: dict[str, slice], labels: list[SceneLabels]) -> torch.Tensor:
    """Mean over the attributes: which of its words fits the picture."""
    targets = torch.from_numpy(values_of(labels))
    return torch.stack([F.cross_entropy(logits[:, where], targets[:, at]) for at, where in enumerate(of.values())]).mean()


def soften(pictures: torch.Tensor, rng: np.random.Generator, generator: torch.Generator) -> torch.Tensor:
    """Some pictures blurred, some noisy, all a little lighter or darker, cut and moved: (B, 3, H, W) in about [-1, 1]."""
    count, edge = len(pictures), pictures.shape[-1]
    tone = 1 + 0.3 * (torch.rand(count, 1, 1, 1, generator=generator) - 0.5)
    changed = pictures * tone + 0.2 * (torch.rand(count, 1, 1, 1, generator=generator) - 0.5)
    blurred = slice(0, int(rng.integers(count // 2)))
    small = F.interpolate(changed[blurred], size=int(rng.integers(edge // 8, edge // 2)), mode="bilinear", antialias=True)
    changed[blurred] = F.interpolate(small, size=edge, mode="bilinear")
    noisy = slice(int(rng.integers(count // 2, count)), count)
    changed[noisy] += 0.15 * rng.random() * torch.randn(changed[noisy].shape, generator=generator)
    side = int(rng.integers(edge * 7 // 8, edge + 1))
    y, x = (int(rng.integers(edge - side + 1)) for _ in range(2))
    cut = changed[:, :, y : y + side, x : x + side]
    return cut if side == edge else F.interpolate(cut, size=edge, mode="bilinear")


def save_scorer(pair: Pair, folder: Path) -> None:
    """fp16: the tower as diffusers' image_encoder, its feature extractor, the text side as scorer.safetensors; model_index.json names them."""
    tower = CLIPVisionModelWithProjection(vision_config())
    tower.load_state_dict(pair.vision.state_dict())
    tower.half().save_pretrained(folder / "image_encoder")
    _write_json(folder / "feature_extractor" / "preprocessor_config.json", _EXTRACTOR)
    weights = {"text_projection.weight": pair.text_projection.weight, "logit_scale": pair.logit_scale.clamp(max=_SCALE_MAX).view(1)}
    facts = {"title": "Starter: how well a picture fits words", "licence": "Apache-2.0", "format": "pt"}
    aside = folder / "scorer.part"
    aside.write_bytes(save({name: value.detach().half().contiguous() for name, value in weights.items()}, metadata=facts))
    os.replace(aside, folder / "scorer.safetensors")
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index |= {"image_encoder": ["transformers", "CLIPVisionModelWithProjection"], "feature_extractor": ["transformers", "CLIPImageProcessor"]}
    _write_json(folder / "model_index.json", index)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.scorer", description=__doc__)
    parser.add_argument("--minutes", type=float, default=16, help="of training, all runs together")
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"), help="folder of the model; the scorer is added to it")
    parser.add_argument("--scenes", type=Path, default=Path("data/starter-v2"), help="folder with the drawn scenes and their latents")
    parser.add_argument("--work", type=Path, default=Path("data/scorer"), help="folder for small pictures and checkpoints")
    parser.add_argument("--imagined", type=int, default=5_120, help="pictures imagined by the denoiser to learn from")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    course = Course(minutes=options.minutes, learning_rate=1e-3, weight_decay=0.05, warm_up=100, cooldown=0.6)
    torch.manual_seed(course.seed)
    try:
        views = load_views(options.scenes, options.work, options.model, imagined=options.imagined)
        lessons = Lessons(views, options.model, ScorerPlan(), course.seed)
        follow(course, list(lessons.pair.parameters()), lessons.loss, options.work / "scorer.pt")
    except DamagedFile as error:
        print(error, file=sys.stderr)
        return 1
    save_scorer(lessons.pair.eval(), options.model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
