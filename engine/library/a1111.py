"""AUTOMATIC1111's text, as Forge and many others write it too, to request values. One pass over the text, no backtracking.

    a red castle, (sunset:1.2) <lora:ink:0.8>
    Negative prompt: blurry
    Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: 1, Size: 512x768, Model hash: 1a2b3c4d5e, Model: name

Like that program's own reader: a line of the prompt that begins with "Negative prompt:" begins the negative prompt.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine.contract.errors import InvalidRequest
from engine.contract.requests import SIZE_MAX, SIZE_MIN, SIZE_MULTIPLE, parse_request
from engine.contract.schedulers import schedule_key, scheduler_key, schedules_of

_NEGATIVE = "Negative prompt:"
_STEPS = "Steps:"
# What that program calls a sampler that we call otherwise, in small letters.
_SAMPLERS = {"dpm2": "kdpm2", "dpm2 a": "kdpm2_a", "plms": "pndm"}
# Before its version 1.9 the noise schedule was a part of the sampler's name.
_SUFFIXES = ("karras", "exponential", "sgm uniform", "beta")
_DECODER = json.JSONDecoder()


@dataclass
class Parameters:
    """`values` fit `parse_request`; what is named but must be looked for is kept apart; `unread` is kept as written."""

    values: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    model_hash: str | None = None
    upscaler: str | None = None
    vae: str | None = None
    embeddings: tuple[str, ...] = ()
    unread: dict[str, str] = field(default_factory=dict)


def parse_parameters(text: str) -> Parameters | None:
    """None where the text has no line of settings, so it is something else."""
    # The last such line: a prompt may hold one too.
    start = text.rfind(f"\n{_STEPS}") + 1
    if not start and not text.startswith(_STEPS):
        return None
    prompt, negative = _split_words(text[: max(start - 1, 0)])
    settings = read_pairs(text[start:])
    prompt, loras = _take_last_tags(prompt)
    found = Parameters(values={"prompt": prompt, "negative_prompt": negative})
    if loras:
        found.values["loras"] = loras
    _Mapping(found, settings).run()
    return found


def _split_words(text: str) -> tuple[str, str]:
    if text.startswith(_NEGATIVE):
        return "", text.removeprefix(_NEGATIVE).removeprefix(" ")
    prompt, _, negative = text.partition(f"\n{_NEGATIVE}")
    return prompt, negative.removeprefix(" ")


def read_pairs(text: str) -> dict[str, str]:
    """ "Key: value, Other: "quoted, with a comma"" as a dict; the first of two equal keys counts."""
    found: dict[str, str] = {}
    place = 0
    while (colon := text.find(":", place)) >= 0:
        # Words with a comma and no colon belong to no setting; the key is what follows them.
        key = text[place:colon].rpartition(",")[2].strip()
        value, place = _value(text, colon + 1)
        if key:
            found.setdefault(key, value)
    return found


def _value(text: str, start: int) -> tuple[str, int]:
    """The value that begins at `start`, and where the next key begins."""
    while start < len(text) and text[start] == " ":
        start += 1
    if text.startswith('"', start):
        try:
            value, end = _DECODER.raw_decode(text, start)
            comma = text.find(",", end, end + 2)
            return str(value), len(text) if comma < 0 and not text[end:].strip() else max(comma, end - 1) + 1
        except ValueError:
            pass
    comma = text.find(",", start)
    end = len(text) if comma < 0 else comma
    return text[start:end].strip(), end + 1


def _take_last_tags(prompt: str) -> tuple[str, list[dict[str, Any]]]:
    """The prompt without the `<lora:name:weight>` tags at its end, letter by letter; those inside it work where they are."""
    loras: list[dict[str, Any]] = []
    while prompt.endswith(">") and (start := prompt.rfind("<lora:")) >= 0:
        name, _, weight = prompt[start + 6 : -1].partition(":")
        try:
            use = {"name": name, "weight": float(weight or 1)}
            parse_request({"prompt": "x", "loras": [use]})
        except (ValueError, InvalidRequest):
            break
        loras.insert(0, use)
        prompt = prompt[:start].removesuffix(" ")
    return prompt, loras


class _Mapping:
    """Walks the settings once; each is taken over under our name, or kept as unread."""

    def __init__(self, found: Parameters, settings: dict[str, str]) -> None:
        self._found, self._left = found, settings

    def run(self) -> None:
        for name, key, read in _PLAIN:
            self._take(name, lambda text, key=key, read=read: {key: read(text)})
        self._take("Sampler", _sampler)
        self._take("Schedule type", self._schedule)
        self._take("Size", _size)
        self._take("Variation seed strength", lambda text: {"variation_strength": float(text)})
        if self._found.values.get("variation_strength"):
            self._take("Variation seed", lambda text: {"variation_seed": int(text)})
        self._take("Tiling", lambda text: {"seamless": "xy"} if text == "True" else _not_ours())
        self._take_mode()
        self._found.model = self._left.pop("Model", None)
        self._found.model_hash = self._left.pop("Model hash", None)
        self._found.vae = self._left.pop("VAE", None)
        self._found.embeddings = tuple(read_pairs(self._left.pop("TI hashes", "")))
        for name in ("Version", "Lora hashes", "VAE hash"):
            # Says who wrote it, or repeats what the tags say.
            self._left.pop(name, None)
        self._found.unread = self._left

    def _take(self, name: str, read: Callable[[str], dict[str, Any]]) -> None:
        """Whatever the contract would refuse stays unread: a picture from elsewhere never makes a form that cannot run."""
        if name not in self._left:
            return
        try:
            values = read(self._left[name])
            parse_request({"prompt": "x", **values})
        except (ValueError, OverflowError, InvalidRequest):
            return
        self._found.values |= values
        del self._left[name]

    def _schedule(self, text: str) -> dict[str, Any]:
        if text.lower() == "automatic":
            return {}
        key, scheduler = schedule_key(text), self._found.values.get("scheduler")
        return {"schedule": key} if key is not None and scheduler is not None and key in schedules_of(scheduler) else _not_ours()

    def _take_mode(self) -> None:
        """The text does not name its mode; a strength without a second pass tells of a source picture, a blur of a mask."""
        if "Hires upscale" in self._left or "Denoising strength" not in self._left:
            return
        mode = "inpaint" if "Mask blur" in self._left else "img2img"
        if self._left.get("Version") == "Easel" and "Postprocess upscale by" in self._left:
            mode = "upscale"
        strength = self._left["Denoising strength"]
        try:
            self._check(mode, {"strength": float(strength)})
        except (ValueError, InvalidRequest):
            return
        del self._left["Denoising strength"]
        self._found.values |= {"mode": mode, "strength": float(strength)}
        more = {"inpaint": [("Mask blur", "feather", float)], "upscale": [("Postprocess upscale by", "factor", int)]}
        for name, key, read in more.get(mode, []):
            try:
                value = read(self._left.get(name, ""))
                self._check(mode, {key: value})
            except (ValueError, InvalidRequest):
                continue
            self._found.values[key] = value
            del self._left[name]
        if mode == "upscale":
            self._found.upscaler = self._left.pop("Postprocess upscaler", None)

    @staticmethod
    def _check(mode: str, values: dict[str, Any]) -> None:
        grown = {"expand_left": 8} if mode == "inpaint" else {}
        parse_request({"mode": mode, "prompt": "x", "source": "0" * 64, **grown, **values})


_PLAIN: tuple[tuple[str, str, Callable[[str], object]], ...] = (
    ("Steps", "steps", int),
    ("CFG scale", "guidance_scale", float),
    ("Seed", "seed", int),
    ("Clip skip", "clip_skip", int),
)


def _not_ours() -> dict[str, Any]:
    raise ValueError("nothing here means the same")


def _sampler(text: str) -> dict[str, Any]:
    name = text.strip().lower()
    schedule = next((one for one in _SUFFIXES if name.endswith(f" {one}")), None)
    name = name if schedule is None else name.removesuffix(f" {schedule}")
    key = scheduler_key(_SAMPLERS.get(name, name))
    if key is None:
        return _not_ours()
    chosen = None if schedule is None else schedule_key(schedule)
    return {"scheduler": key} if chosen is None or chosen not in schedules_of(key) else {"scheduler": key, "schedule": chosen}


def _size(text: str) -> dict[str, Any]:
    width, height = (int(edge) for edge in text.lower().split("x"))
    if any(edge % SIZE_MULTIPLE or not SIZE_MIN <= edge <= SIZE_MAX for edge in (width, height)):
        return _not_ours()
    return {"width": width, "height": height}
