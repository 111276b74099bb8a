"""Which files of a repository make a model that can be loaded, and under which names: worked out from `model_index.json` and a list of files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.contract.errors import DamagedFile, EngineError, IncompatibleAdapter
from engine.contract.families import FamilyFacts, family_of
from engine.contract.hub import HubFile, ModelFile, Precision
from engine.contract.parts import PARTS
from engine.weights.fingerprints import TITLES, family_of_pipeline
from engine.weights.variants import WEIGHTS

# What a folder needs beside its weights: settings, words, licences. Anything else could be a program, or is for other tools.
_SMALL = (".json", ".txt", ".model", ".jinja")
_SMALL_MAX = 64 * 1024 * 1024
_ROOT = re.compile(r"model_index\.json|easel\.json|README\.md|LICEN[CS]E[A-Za-z0-9._-]{0,40}")
_PART = re.compile(r"[A-Za-z0-9_]{1,64}")
_INDEX = re.compile(r"(?P<stem>diffusion_pytorch_model|model)(?:\.(?P<early>fp16|bf16))?\.safetensors\.index(?:\.(?P<late>fp16|bf16))?\.json")
# Which of the names of the same weights is taken, the first that is whole.
_ORDER: dict[Precision, tuple[str, ...]] = {"half": ("fp16", "bf16", ""), "full": ("", "fp16", "bf16")}
_LIBRARIES = ("diffusers", "transformers")
# Named in many an index, and not needed to draw.
_LEFT_OUT = ("safety_checker",)
_WELCOME = ("feature_extractor", "image_encoder")
_WITHOUT_WEIGHTS = ("Tokenizer", "TokenizerFast", "Scheduler", "Processor", "FeatureExtractor")

Chosen = list[tuple[HubFile, str]]


@dataclass(frozen=True)
class Plan:
    """`weights` are the files with tensors, by part; `configs` those that may name code; `files` is everything, each under the name that loads."""

    family: FamilyFacts
    files: tuple[ModelFile, ...]
    weights: dict[str, tuple[HubFile, ...]]
    configs: tuple[HubFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(one.size_bytes for one in self.files)


def plan_model(name: str, index: Mapping[str, Any], files: Mapping[str, HubFile], precision: Precision) -> Plan:
    """Raises `DamagedFile` or `IncompatibleAdapter` for what could not be loaded, before any of it is fetched. `name` is what it is called in sentences."""
    family = _family(name, index)
    parts = _parts(name, index, family)
    chosen: Chosen = [(one, path) for path, one in files.items() if _ROOT.fullmatch(path) and one.size_bytes <= _SMALL_MAX]
    weights: dict[str, tuple[HubFile, ...]] = {}
    configs: list[HubFile] = []
    for part, kind in parts.items():
        here = {path.removeprefix(f"{part}/"): one for path, one in files.items() if path.startswith(f"{part}/") and path.count("/") == 1}
        small = [one for file, one in here.items() if file.endswith(_SMALL) and not _INDEX.fullmatch(file) and one.size_bytes <= _SMALL_MAX]
        found = [] if kind.endswith(_WITHOUT_WEIGHTS) else _weights(here, precision)
        if part in _WELCOME and not (small and (found or kind.endswith(_WITHOUT_WEIGHTS))):
            continue
        if not found and not kind.endswith(_WITHOUT_WEIGHTS):
            raise _without_weights(name, part, here)
        if not small:
            raise _lacking(name, f"{part} has no settings")
        chosen += [(one, one.path) for one in small] + [(one, f"{part}/{target}") for one, target in found]
        weights |= {part: tuple(one for one, _ in found if one.path.endswith(".safetensors"))} if found else {}
        configs += [one for one in small if one.path.endswith("config.json")]
    return Plan(family, tuple(_as_promised(name, one, target) for one, target in chosen), weights, tuple(configs))


def _family(name: str, index: Mapping[str, Any]) -> FamilyFacts:
    kind = index.get("_class_name")
    if not isinstance(kind, str):
        raise DamagedFile(f"{name} brings a pipeline of its own, and Easel runs no code that comes with a model.", "Choose another model.", "model")
    if (family := family_of(index)) is None:
        called = TITLES.get(family_of_pipeline(kind), "") or f"a {kind[:60]}"
        raise IncompatibleAdapter(f"{name} is {called} in a form that Easel cannot draw with yet ({kind[:60]}).", "Choose another model.", "model")
    return family


def _parts(name: str, index: Mapping[str, Any], family: FamilyFacts) -> dict[str, str]:
    """Class names by part: those that the family loads, checked, and what else the index asks for."""
    accepted = PARTS[family.key]
    parts: dict[str, str] = {}
    for part, entry in index.items():
        if part.startswith("_") or not isinstance(entry, list) or part in _LEFT_OUT:
            continue
        library, kind = (*entry, None, None)[:2]
        if kind is None:
            continue
        if library not in _LIBRARIES or not isinstance(kind, str) or not _PART.fullmatch(part):
            raise DamagedFile(f"The {part[:40]} of {name} needs code of its own, which Easel does not run.", "Choose another model.", "model")
        if kind not in accepted.classes.get(part, (kind,)):
            raise IncompatibleAdapter(f"The {part} of {name} is a {kind[:60]}, which Easel does not know.", "Choose another model.", "model")
        parts[part] = kind
    if gone := [part for part in accepted.classes if part not in parts and part not in accepted.optional]:
        raise _lacking(name, f"there is no {gone[0]}")
    return parts


def _weights(here: Mapping[str, HubFile], precision: Precision) -> Chosen:
    """The first whole set of weights in the order of preference; empty where there is none."""
    named = [(found, one) for file, one in here.items() if (found := WEIGHTS.fullmatch(file))]
    indices = {_variant(found): (found["stem"], one) for file, one in here.items() if (found := _INDEX.fullmatch(file))}
    for variant in _ORDER[precision]:
        of = [(found, one) for found, one in named if _variant(found) == variant]
        if whole := [(one, f"{found['stem']}.safetensors") for found, one in of if found["number"] is None]:
            return whole[:1]
        pieces = sorted((found["stem"], found["count"], found["number"], one) for found, one in of)
        numbers = [number for _, _, number, _ in pieces]
        if variant in indices and pieces and numbers == [f"{number:05}" for number in range(1, int(pieces[0][1]) + 1)]:
            stem, index = indices[variant]
            return [(index, f"{stem}.safetensors.index.json"), *((one, f"{stem}-{n}-of-{count}.safetensors") for stem, count, n, one in pieces)]
    return []


def _variant(found: re.Match[str]) -> str:
    return found["early"] or found["late"] or ""


def _without_weights(name: str, part: str, here: Iterable[str]) -> EngineError:
    if any(file.endswith((".bin", ".pt", ".pth", ".ckpt", ".msgpack")) for file in here):
        message = f"The {part} of {name} is a pickle, which can carry a program."
        return DamagedFile(message, "Find the version of the model with .safetensors files.", "model")
    return _lacking(name, f"{part} has no whole set of weights as safetensors")


def _lacking(name: str, what: str) -> EngineError:
    return DamagedFile(f"{name} is not whole on the hub: {what}.", "Choose another revision of it, or another model.", "model")


def _as_promised(name: str, file: HubFile, target: str) -> ModelFile:
    if not file.sha256 and not file.blob:
        raise EngineError(f"The hub promises no hash for {file.path} of {name}.", "Is HF_ENDPOINT the address of a hub?", "model")
    return ModelFile(path=file.path, target=target, size_bytes=file.size_bytes, sha256=file.sha256, blob=file.blob)
