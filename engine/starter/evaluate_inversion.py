"""Is the learned word heard? `python -m engine.starter.evaluate_inversion --word snail`. By the engine, judged by features of the scorer."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.contract.recipe import Recipe
from engine.diffusion.embeddings import load_embedding
from engine.diffusion.images import to_rgb
from engine.diffusion.latents import decode
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.scorer import Scorer, load_scorer
from engine.diffusion.text import PromptEncoder
from engine.starter.attributes import SUBJECTS, SceneLabels
from engine.starter.captions import SYNONYMS
from engine.starter.evaluate_scorer import features_of
from engine.starter.figures import keep_figures
from engine.starter.inversion import sha256_of
from engine.starter.newcomers import NEWCOMERS, draw_newcomer, newcomer_labels, pictures_of
from engine.starter.scenes import draw

FOLDER = Path("presets/embeddings")


@dataclass(frozen=True)
class Judge:
    """Nearest mean of the scorer's features among the known subjects and the newcomer, under their common spread (Fisher's discriminant)."""

    names: tuple[str, ...]
    means: torch.Tensor
    precision: torch.Tensor

    @staticmethod
    def learn(scorer: Scorer, word: str, *, each: int, seed: int) -> Judge:
        """From drawn scenes: `each` of every kind, with the same places, times and colours."""
        rng = np.random.default_rng(seed)
        labels = [newcomer_labels(rng) for _ in range(each)]
        kinds = {name: np.stack([draw(_as(one, name), seed=seed * 5_000 + k).image for k, one in enumerate(labels)]) for name in SUBJECTS}
        kinds[word] = pictures_of(draw_newcomer(word, each, seed))
        features = torch.stack([features_of(scorer, pictures) for pictures in kinds.values()])
        means = features.mean(1)
        apart = (features - means[:, None]).flatten(0, 1)
        spread = apart.T @ apart / len(apart)
        return Judge(tuple(kinds), means, torch.linalg.inv(spread + 0.05 * spread.diagonal().mean() * torch.eye(len(spread))))

    def answers(self, features: torch.Tensor) -> list[str]:
        apart = features[:, None] - self.means
        return [self.names[at] for at in ((apart @ self.precision) * apart).sum(2).argmin(1)]


def evaluate(model: Path, file: Path, *, count: int, sheet: Path | None, seed: int = 12) -> dict[str, Any]:
    """Share of pictures that the judge takes for the newcomer: drawn ones, with the embedding, and with the bare word, which the model never heard."""
    word = file.stem
    scorer = load_scorer(model, device=torch.device("cpu"))
    judge = Judge.learn(scorer, word, each=48, seed=seed)
    components = load_components(model, device=torch.device("cpu"), dtype=torch.bfloat16)
    rng = np.random.default_rng(seed)
    prompts = [prompt_of(newcomer_labels(rng), word) for _ in range(count)]
    with_it = drawn_by_engine(components, prompts, file)
    without = drawn_by_engine(components, prompts, None)
    if sheet is not None:
        rows = [np.hstack([cv2.resize(one, (160, 160), interpolation=cv2.INTER_AREA) for one in some[:10]]) for some in (with_it, without)]
        cv2.imwrite(str(sheet), np.vstack(rows)[..., ::-1])
    taken = {
        name: round(float(np.mean([answer == word for answer in judge.answers(features_of(scorer, pictures))])), 3)
        for name, pictures in {"drawn": pictures_of(draw_newcomer(word, count, seed + 1)), "with": with_it, "without": without}.items()
    }
    return {"word": word, "pictures": count, "bytes": file.stat().st_size, **taken}


def prompt_of(labels: SceneLabels, word: str) -> str:
    return f"a {SYNONYMS[labels.colour][0]} {word} {SYNONYMS[labels.place][0]} {SYNONYMS[labels.time][0]}"


def drawn_by_engine(components: Components, prompts: list[str], file: Path | None, *, steps: int = 20) -> NDArray[np.uint8]:
    """(N, 256, 256, 3); with `file`, its word is known."""
    encoder = PromptEncoder(components)
    made: list[NDArray[np.uint8]] = []
    width = int(components.text_encoder.config.hidden_size)
    hashes = {} if file is None else {file.stem: sha256_of(file)}
    learned = {} if file is None else {file.stem: load_embedding(file.stem, file, widths=(width,), digest=hashes[file.stem], field="prompt")}
    with encoder.knowing(learned, hashes):
        for seed, prompt in enumerate(prompts):
            recipe = Recipe(
                model="starter", model_hash="", prompt=prompt, negative_prompt="", steps=steps, guidance_scale=4.0, scheduler="dpmpp_2m",
                width=256, height=256, seed=seed, count=1,
            )  # fmt: skip
            *_, last = text_to_image(components, encoder, recipe)
            with torch.inference_mode():
                made.append(to_rgb(decode(components, last.latents)[0]))
    return np.stack(made)


def _as(labels: SceneLabels, subject: str) -> SceneLabels:
    return replace(labels, subject=subject)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.evaluate_inversion", description=__doc__)
    parser.add_argument("--word", choices=sorted(NEWCOMERS), default="snail")
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--sheet", type=Path, default=None, help="a picture of the first ten, with the embedding above, without it below")
    options = parser.parse_args()
    report = evaluate(options.model, options.folder / f"{options.word}.safetensors", count=options.count, sheet=options.sheet)
    keep_figures(options.model, "inversion", report)
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
