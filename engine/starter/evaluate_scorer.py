"""Does the scorer know what is in a picture? `python -m engine.starter.evaluate_scorer`. Fresh scenes, and pictures that the model makes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.diffusion.scorer import Scorer, load_scorer
from engine.starter.attributes import SceneLabels, random_labels
from engine.starter.captions import SYNONYMS
from engine.starter.evaluate import full_caption, generate
from engine.starter.figures import keep_figures
from engine.starter.probe import Probe, targets_of, to_input, train_probe
from engine.starter.scenes import draw
from engine.starter.scorer import captions_of, is_true, values_of
from engine.starter.text_encoder import ATTRIBUTES

_CROWD = 64
# Seven steps are few enough for the model to go wrong now and then.
_WAYS = ((20, 4.0), (7, 1.5), (4, 1.0))


def evaluate(folder: Path, work: Path, *, scenes: int, prompts: int, seed: int = 31) -> dict[str, Any]:
    """Retrieval among 64, words for one attribute, and how the score goes with the judge's opinion of generated pictures."""
    scorer = load_scorer(folder, device=torch.device("cpu"))
    rng = np.random.default_rng(seed)
    labels = [random_labels(rng, held_out=None, is_wide=True) for _ in range(scenes)]
    features = features_of(scorer, np.stack([draw(one, seed=seed * 1_000_000 + k).image for k, one in enumerate(labels)]))
    report: dict[str, Any] = {"scenes": scenes, "retrieval": retrieval(scorer, features, labels), "words": words_accuracy(scorer, features, labels)}
    report["generated"] = agreement(scorer, train_probe(work), folder, labels[:prompts], seed=seed)
    return report


def features_of(scorer: Scorer, images: NDArray[np.uint8]) -> torch.Tensor:
    """(N, D) of (N, H, W, 3) pictures."""
    blocks = [torch.from_numpy(images[start : start + 64]).permute(0, 3, 1, 2).float() / 127.5 - 1 for start in range(0, len(images), 64)]
    with torch.no_grad():
        return torch.cat([scorer.image_features(block) for block in blocks])


def retrieval(scorer: Scorer, features: torch.Tensor, labels: list[SceneLabels]) -> dict[str, float]:
    """Share of right first choices among 64 captions that state everything, and among 64 pictures; mean over the crowds."""
    said = scorer.text_features([full_caption(one) for one in labels])
    values = values_of(labels)
    by_picture: list[float] = []
    by_text: list[float] = []
    for start in range(0, len(labels) - _CROWD + 1, _CROWD):
        rows = slice(start, start + _CROWD)
        score = features[rows] @ said[rows].T
        truth = torch.from_numpy(is_true(values[rows], values[rows]))
        by_picture.append(float(truth.gather(1, score.argmax(1, keepdim=True)).float().mean()))
        by_text.append(float(truth.T.gather(1, score.T.argmax(1, keepdim=True)).float().mean()))
    return {"picture_to_text": round(float(np.mean(by_picture)), 3), "text_to_picture": round(float(np.mean(by_text)), 3)}


def words_accuracy(scorer: Scorer, features: torch.Tensor, labels: list[SceneLabels]) -> dict[str, float]:
    """Share of pictures whose own word scores highest among the plainest words of that attribute."""
    targets = targets_of(labels)
    right: dict[str, float] = {}
    for name, values in ATTRIBUTES.items():
        said = scorer.text_features([f"a {SYNONYMS[value][0]}" if name == "subject" else SYNONYMS[value][0] for value in values])
        right[name] = round(float(torch.eq((features @ said.T).argmax(1), targets[name]).float().mean()), 3)
    return right


def agreement(scorer: Scorer, probe: Probe, folder: Path, labels: list[SceneLabels], *, seed: int) -> dict[str, float]:
    """Correlation of the score with the share of the caption that the judge sees, over good and poor pictures and true and false captions."""
    rng = np.random.default_rng(seed)
    scores: list[torch.Tensor] = []
    beliefs: list[torch.Tensor] = []
    for steps, guidance in _WAYS:
        made = generate(folder, [full_caption(one) for one in labels], size=256, steps=steps, guidance=guidance, seed=seed)
        texts, stated = captions_of(labels, rng, wrong=1.0)
        pairs = torch.cat([torch.arange(len(labels)), torch.arange(len(labels))])
        features = features_of(scorer, made)[pairs]
        scores.append((features * scorer.text_features(texts)).sum(1))
        beliefs.append(belief(probe, made, stated, pairs))
    score, seen = torch.cat(scores), torch.cat(beliefs)
    return {"pairs": len(score), "pearson": _correlation(score, seen), "spearman": _correlation(score.argsort().argsort().float(), seen.argsort().argsort().float())}  # fmt: skip


def belief(probe: Probe, images: NDArray[np.uint8], stated: NDArray[np.int64], pairs: torch.Tensor) -> torch.Tensor:
    """(T): the judge's mean probability, over what text t states, that it holds in picture pairs[t]."""
    with torch.no_grad():
        answers = probe(to_input(images))
    wanted = torch.from_numpy(stated)
    is_said = wanted >= 0
    sure = torch.stack(
        [answers[name].softmax(1)[pairs].gather(1, wanted[:, at].clamp(min=0)[:, None])[:, 0] for at, name in enumerate(ATTRIBUTES)], 1
    )
    return (sure * is_said).sum(1) / is_said.sum(1)


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return round(float(torch.corrcoef(torch.stack([a, b]))[0, 1]), 3)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.evaluate_scorer", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"))
    parser.add_argument("--work", type=Path, default=Path("data/starter-v2"), help="folder with the probe")
    parser.add_argument("--scenes", type=int, default=512)
    parser.add_argument("--prompts", type=int, default=64)
    options = parser.parse_args()
    report = evaluate(options.model, options.work, scenes=options.scenes, prompts=options.prompts)
    keep_figures(options.model, "scorer", report)
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
