"""Which of the styles a picture is in: a nearest-mean classifier on a few plain statistics, learned from drawings alone."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.starter.attributes import random_labels
from engine.starter.lora import draw_style
from engine.starter.scenes import draw
from engine.starter.styles import STYLES

_PLAIN = "plain"


@dataclass(frozen=True)
class StyleJudge:
    """names (K), means (K, D) and spreads (K, D) of each style's statistics."""

    names: tuple[str, ...]
    means: NDArray[np.float64]
    spreads: NDArray[np.float64]

    @staticmethod
    def learn(*, per_style: int, seed: int) -> StyleJudge:
        """From freshly drawn scenes of every style, and plain ones."""
        rng = np.random.default_rng(seed)
        plain = np.stack([draw(random_labels(rng, is_wide=True), seed=seed * 999 + k).image for k in range(per_style)])
        pictures = {_PLAIN: plain, **{style: draw_style(style, per_style, seed + 1)[0] for style in STYLES}}
        values = {name: statistics(images) for name, images in pictures.items()}
        return StyleJudge(tuple(values), np.stack([one.mean(0) for one in values.values()]), np.stack([one.std(0) + 0.02 for one in values.values()]))

    def answers(self, images: NDArray[np.uint8]) -> NDArray[np.str_]:
        """(N) names: the style under whose own spread the picture's statistics are likeliest."""
        at = statistics(images)[:, None]
        surprise = (np.square((at - self.means) / self.spreads) / 2 + np.log(self.spreads)).sum(2)
        return np.array(self.names)[surprise.argmin(1)]


def statistics(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(N, H, W, 3) → (N, 11), each about 0 to 1: colour and its spread, saturation, lightness of the border, fineness, blockiness."""
    rows: list[list[float]] = []
    for image in images:
        unit = image.astype(np.float32) / 255
        grey = cv2.cvtColor(unit, cv2.COLOR_RGB2GRAY)
        saturation = unit.max(2) - unit.min(2)
        fine = np.abs(cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), 1), cv2.CV_32F))
        border = np.concatenate([unit[:6].reshape(-1, 3), unit[-6:].reshape(-1, 3)])
        across = np.abs(np.diff(grey, axis=1)).mean(0)
        blocks = across[3::4].mean() / (across.mean() + 1e-6)
        rows.append([
            *unit.mean((0, 1)), *unit.std((0, 1)), float(saturation.mean()), float(border.mean()), float(fine.mean()) * 5,
            float((grey < 0.15).mean()), float(min(blocks, 4)) / 4,
        ])  # fmt: skip
    return np.array(rows, dtype=np.float64)
