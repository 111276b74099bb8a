"""What the page says of the starter: the model card and the data card in a few plain lines, from the same figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.starter.attributes import COLOURS, PLACES, SUBJECTS, TIMES
from engine.starter.figures import put_fact
from engine.starter.recipes import RECIPES

LIMITS = """It knows sixteen subjects in ten places and nothing else: no people, no animals but a bird, no writing, no photographs. Silhouettes are soft and
some subjects are mixed up (the table says how often); fine edges are blurred. Pictures other than 256 × 256 are weaker. All things
in a picture are of one kind and one colour: it has never seen a castle beside a ship. Words that it does not know are ignored."""


def about_lines(runs: list[dict[str, Any]], report: dict[str, Any]) -> list[tuple[str, str]]:
    """Titles and texts, most wanted first. `runs` and `report` are those of the card."""
    parts = ("subject", "place", "time", "colour", "count", "position")
    shares = ", ".join(f"{name} {report['ordinary'][name]['generated']:.0%}" for name in parts)
    return [
        ("What it knows", "\n".join([*(f"{_list(names)}." for names in (SUBJECTS, PLACES, TIMES, COLOURS)), "One to three of a kind, near or far."])),
        (
            "How well it follows words",
            f"Of {report['prompts']} prompts that state everything, a judge that was trained on drawn scenes sees: {shares}.",
        ),
        ("What it cannot do", " ".join(LIMITS.replace(" (the table says how often)", "").split())),
        (
            "What it was trained on",
            "Scenes that Easel's own code draws (engine/starter/scenes.py). No photograph, no artist's work, nothing from the network.",
        ),
        ("How it was trained", "\n".join([*(_run(run) for run in runs), "On two CPU cores, other work beside it."])),
        ("Make it again", "\n".join(f"python -m engine.starter.train --recipe {name}" for name in dict.fromkeys(run["recipe"] for run in runs))),
        ("Licence", "Apache-2.0, weights and training data alike."),
    ]


def keep_about(model: Path, lines: list[tuple[str, str]]) -> None:
    """Into the model's easel.json, which its card on the page is read from."""
    put_fact(model, "about", [{"title": title, "text": text} for title, text in lines])


def stage_of(run: dict[str, Any]) -> str:
    """What a training run taught, and on pictures of which size."""
    return f"decoder on crops of {run['size']} px" if run.get("part") == "decoder" else f"UNet at {run['size']} px"


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names).capitalize()


def _run(run: dict[str, Any]) -> str:
    recipe = RECIPES[run["recipe"]]
    return (
        f"{run['recipe']}, {stage_of(run)}: {run['samples']:,} pictures seen of {recipe.scenes:,} scenes in {run['minutes']:.0f} minutes, "
        f"seed {recipe.seed}, code at commit {run['commit']}."
    )
