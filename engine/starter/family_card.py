"""The part of the model card about the starter's family: one paragraph and its figures for each member that was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Figures = Mapping[str, Any]


def family_section(figures: Figures) -> str:
    """Markdown, empty before anything was measured."""
    parts = [write(figures[name]) for name, write in _PARTS.items() if name in figures]
    return "\n\n".join(["## Its family", *parts]) if parts else ""


def _scorer(figures: Figures) -> str:
    words, found, made = figures["words"], figures["retrieval"], figures["generated"]
    names = list(words)
    return "\n".join([
        "### How well a picture fits words",
        "",
        "`image_encoder` (a CLIP vision tower, 128 px) and `scorer.safetensors` (the projection of the frozen text encoder). Trained by",
        f"`python -m engine.starter.scorer`, measured by `python -m engine.starter.evaluate_scorer` on {figures['scenes']} fresh scenes. Among 64 captions",
        f"that state everything it picks the right one for {found['picture_to_text']:.1%} of the scenes, among 64 scenes the right one for",
        f"{found['text_to_picture']:.1%} of the captions. A single word against the others of its kind (\"a castle\", \"at night\"):",
        "",
        "| " + " | ".join(names) + " |",
        "|" + "---|" * len(names),
        "| " + " | ".join(f"{words[name]:.2f}" for name in names) + " |",
        "",
        f"On {made['pairs']} pairs of generated pictures, good and poor, and captions, true and false in one thing, the score goes with the judge's",
        f"belief in the caption: correlation {made['pearson']:.2f}, of ranks {made['spearman']:.2f}.",
    ])  # fmt: skip


def _fewsteps(figures: Figures) -> str:
    names = ("subject", "place", "time", "colour", "count", "position", "mean")
    rows = [
        f"| {way['title']} | {way['steps']} | {way['calls']} | " + " | ".join(f"{way[name]:.2f}" for name in names) + f" | {way['frechet']:.2f} |"
        for way in figures["ways"]
    ]
    return "\n".join([
        "### Few steps",
        "",
        "`presets/loras/starter-fewsteps.safetensors`, for the LCM sampler at guidance 1. It learned where the base model's own walks of 20 guided",
        f"steps end (`python -m engine.starter.fewsteps`). {figures['prompts']} prompts, judged as above; Fréchet distance to {figures['crowd']:,} fresh",
        f"scenes (as many drawn scenes themselves: {figures['frechet_drawn']:.2f}). A guided step costs two model calls.",
        "",
        "| | steps | model calls | " + " | ".join(names) + " | Fréchet |",
        "|" + "---|" * (len(names) + 4),
        *rows,
    ])  # fmt: skip


def _inversion(figures: Figures) -> str:
    return "\n".join([
        "### A learned word",
        "",
        f"`presets/embeddings/{figures['word']}.safetensors`: textual inversion of a thing that the model never saw, nothing of the model changed",
        f"(`python -m engine.starter.inversion`). Of {figures['pictures']} pictures a judge of the scorer's features, who knows it among the sixteen",
        f"subjects, takes {figures['with']:.0%} for it with the embedding and {figures['without']:.0%} with the bare word; of drawn ones {figures['drawn']:.0%}.",
    ])  # fmt: skip


def _reference(figures: Figures) -> str:
    names = ("subject", "place", "time", "colour", "palette")
    rows = [f"| {row['scale']:g} | " + " | ".join(f"{row[name]:.2f}" for name in names) + " |" for row in figures["alone"]]
    mixed = [f"| {row['scale']:g} | {row['asked_subject']:.2f} | {row['place']:.2f} | {row['time']:.2f} | {row['colour']:.2f} | {row['palette']:.2f} |" for row in figures["mixed"]]  # fmt: skip
    return "\n".join([
        "### A picture as a prompt",
        "",
        "`presets/ip_adapters/starter.safetensors`, an IP-Adapter of four tokens over the vision tower, taught by the denoiser that is told",
        "everything (`python -m engine.starter.reference --minutes 40`, one CPU core). Command: `python -m engine.starter.evaluate_reference`.",
        f"{figures['pictures']} fresh scenes as references. Without words, share of the pictures in which the judge sees what the reference shows,",
        "and the distance of their palettes (4 × 4 mean colours, 0 to 1, less is nearer):",
        "",
        "| weight | " + " | ".join(names) + " |",
        "|" + "---|" * (len(names) + 1),
        *rows,
        "",
        "With words for another subject and nothing else:",
        "",
        "| weight | subject of the words | place | time | colour | palette |",
        "|---|---|---|---|---|---|",
        *mixed,
    ])  # fmt: skip


def _defaults(figures: Figures) -> str:
    rows = [f"| {way['sampler']} | {way['steps']} | {way['guidance']:g} | {way['mean']:.3f} | {way['frechet']:.2f} |" for way in figures["ways"]]
    return "\n".join([
        "### Why these defaults",
        "",
        "`python -m engine.starter.evaluate_defaults`: sampler, steps and guidance, one of the three varied at a time, on the same",
        f"{figures['prompts']} prompts and noise. Mean accuracy over subject, place, time, colour, count and position; Fréchet distance to",
        f"{figures['crowd']:,} fresh scenes, less is nearer.",
        "",
        "| sampler | steps | guidance | accuracy | Fréchet |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "Accuracies less than .01 apart are the same: so many prompts tell no more. DPM++ 2M is the default because it keeps what it says from",
        "8 steps on; 20 steps because the crowd is nearer than at 8, and no nearer worth the wait at 30. Guidance between 2.5 and 5 says the",
        "same: 4, in the middle of it, keeps edges crisp and counts right on sheets of the same noise; at 1.5 and from 7 on the crowd is further away.",
    ])  # fmt: skip


_PARTS: dict[str, Callable[[Figures], str]] = {
    "scorer": _scorer,
    "fewsteps": _fewsteps,
    "defaults": _defaults,
    "inversion": _inversion,
    "reference": _reference,
}
