"""The judge: a small CNN that learns the attributes from drawn scenes and never sees a generated picture."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engine.starter.attributes import SceneLabels
from engine.starter.dataset import load_dataset
from engine.starter.text_encoder import ATTRIBUTES

EDGE = 96
_HELD_BACK = 1_000


class Probe(nn.Module):
    """(B, 3, 96, 96) in [-1, 1] → logits by attribute, and (B, 160) features."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 160)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.Conv2d(after, after, 3, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({name: nn.Linear(widths[-1] * 9, len(values)) for name, values in ATTRIBUTES.items()})

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.body(images).mean((2, 3))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        # 3 × 3 places are kept, so that left and right can be told.
        grid = nn.functional.adaptive_avg_pool2d(self.body(images), 3).flatten(1)
        return {name: head(grid) for name, head in self.heads.items()}


def to_input(images: NDArray[np.uint8]) -> torch.Tensor:
    """(N, H, W, 3) uint8 of any size → (N, 3, 96, 96) in [-1, 1]."""
    small = np.stack([cv2.resize(image, (EDGE, EDGE), interpolation=cv2.INTER_AREA) for image in images])
    return torch.from_numpy(small.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1


def targets_of(labels: list[SceneLabels]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor([values.index(getattr(one, name)) for one in labels]) for name, values in ATTRIBUTES.items()}


def accuracy(probe: Probe, images: NDArray[np.uint8], labels: list[SceneLabels]) -> dict[str, float]:
    """Share of right answers by attribute."""
    targets = targets_of(labels)
    with torch.no_grad():
        answers = [probe(to_input(images[start : start + 100])) for start in range(0, len(images), 100)]
    return {name: float((torch.cat([a[name] for a in answers]).argmax(1) == targets[name]).float().mean()) for name in targets}


def train_probe(work: Path, *, epochs: int = 3, batch: int = 64, count: int = 14_000, seed: int = 9) -> Probe:
    """Train on the scenes in `work` and keep the weights there; a probe that is there is loaded."""
    probe, path = Probe(), work / "probe.pt"
    if path.exists():
        probe.load_state_dict(torch.load(path, weights_only=True))
        return probe.eval()
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    images, labels, degraded = load_dataset(work)
    clean = np.flatnonzero(~degraded)
    rows, held_back = clean[_HELD_BACK:][:count], clean[:_HELD_BACK]
    inputs = torch.cat([to_input(np.asarray(images[rows[s : s + 500]])).half() for s in range(0, len(rows), 500)])
    targets = targets_of([labels[row] for row in rows])
    optimiser = torch.optim.AdamW(probe.parameters(), lr=2e-3, weight_decay=0.01)
    steps = epochs * (len(rows) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=steps)
    started = time.monotonic()
    for step in range(steps):
        at = torch.from_numpy(rng.integers(0, len(rows), batch))
        with torch.autocast("cpu", torch.bfloat16):
            answers = probe(inputs[at].float())
        loss = torch.stack([nn.functional.cross_entropy(answers[name].float(), targets[name][at]) for name in answers]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            print(f"probe step {step}/{steps} loss {loss.item():.3f} {time.monotonic() - started:.0f} s", flush=True)
    probe.eval()
    real = accuracy(probe, np.asarray(images[held_back]), [labels[row] for row in held_back])
    print("probe on scenes that it never saw:", {name: round(value, 3) for name, value in real.items()}, flush=True)
    torch.save(probe.state_dict(), path)
    return probe
