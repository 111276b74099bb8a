"""The text encoder: a small CLIP text model that first learns to say back what a caption states, then stays frozen."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from engine.starter.attributes import COLOURS, COUNTS, DISTANCES, PLACES, POSITIONS, STYLES, SUBJECTS, TIMES, WEATHERS, random_labels
from engine.starter.captions import caption_and_said, degraded_caption

WIDTH = 256
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "subject": SUBJECTS, "place": PLACES, "time": TIMES, "colour": COLOURS, "position": POSITIONS, "weather": WEATHERS, "style": STYLES,
    "count": COUNTS, "distance": DISTANCES,
}  # fmt: skip


def build_text_encoder(tokenizer: CLIPTokenizer, *, layers: int = 3, width: int = WIDTH) -> CLIPTextModel:
    ids: Any = tokenizer
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=width * 2, num_hidden_layers=layers, num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length, projection_dim=width, bos_token_id=ids.bos_token_id,
        eos_token_id=ids.eos_token_id, pad_token_id=ids.pad_token_id,
    )  # fmt: skip
    return CLIPTextModel(config)


class _Heads(nn.Module):
    """One classifier per attribute over the end token and the last padding token; class 0 means "not stated"."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(2 * width, len(values) + 1) for name, values in ATTRIBUTES.items()})
        self.heads["degraded"] = nn.Linear(2 * width, 2)

    def forward(self, states: torch.Tensor, end: torch.Tensor) -> dict[str, torch.Tensor]:
        features = torch.cat([states[torch.arange(len(states)), end], states[:, -1]], dim=1)
        return {name: head(features) for name, head in self.heads.items()}


def pretrain(
    tokenizer: CLIPTokenizer,
    folder: Path,
    *,
    steps: int = 450,
    batch: int = 64,
    seed: int = 11,
    start_from: Path | None = None,
    is_wide: bool = False,
) -> CLIPTextModel:
    """Train on fresh captions until each stated attribute is read back, save to `folder`, return the model in eval mode."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = (build_text_encoder(tokenizer) if start_from is None else CLIPTextModel.from_pretrained(start_from, dtype=torch.float32)).train()
    heads = _Heads(model.config.hidden_size)
    # A text encoder that a denoiser already listens to learns new words gently.
    rates = (1e-3 if start_from is None else 2e-4, 1e-3)
    groups = [{"params": list(part.parameters()), "lr": rate} for part, rate in zip((model, heads), rates, strict=True)]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=list(rates), total_steps=steps, pct_start=0.1)
    end_id: Any = tokenizer.eos_token_id
    started = time.monotonic()
    for step in range(steps):
        texts, targets = _batch(rng, batch, is_wide)
        ids = tokenize(tokenizer, texts)
        with torch.autocast("cpu", torch.bfloat16):
            states = model(ids).last_hidden_state
        end = torch.eq(ids, end_id).int().argmax(1)
        answers = heads(states.float(), end)
        loss = torch.stack([nn.functional.cross_entropy(answers[name], targets[name]) for name in answers]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 49:
            right = {name: float((answers[name].argmax(1) == targets[name]).float().mean()) for name in answers}
            print(f"text {step + 1}/{steps} loss {loss.item():.3f} worst {min(right.values()):.2f} {time.monotonic() - started:.0f} s", flush=True)
    model.eval().requires_grad_(False).save_pretrained(folder)
    return model


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """(B, 77) ids, padded; training captions are far shorter than that."""
    return tokenizer(texts, padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt").input_ids


def _batch(rng: np.random.Generator, size: int, is_wide: bool) -> tuple[list[str], dict[str, torch.Tensor]]:
    texts: list[str] = []
    rows: list[dict[str, int]] = []
    for _ in range(size):
        labels = random_labels(rng, is_wide=is_wide)
        text, said = caption_and_said(labels, rng)
        row: dict[str, Any] = {name: values.index(getattr(labels, name)) + 1 if name in said else 0 for name, values in ATTRIBUTES.items()}
        row["degraded"] = 0
        if rng.random() < 0.08:
            worse = degraded_caption(text, rng)
            row = {name: value if text in worse else 0 for name, value in row.items()}
            text, row["degraded"] = worse, 1
        if rng.random() < 0.15:
            # Words that it has never seen must not disturb the ones that it knows.
            text += " " + "".join(chr(int(rng.integers(97, 123))) for _ in range(int(rng.integers(3, 9))))
        texts.append(text)
        rows.append(row)
    return texts, {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}
