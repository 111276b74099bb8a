"""Whole models from the hub: looked at first, then fetched aside, put together, judged like any model that lies there, and only then in their place."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.contract.errors import Busy, DamagedFile, DiskFull, EngineError, InvalidRequest, NotFound, Unreachable
from engine.contract.hub import HubFile, HubModel, Precision, parse_hub_name
from engine.library.catalogue import BUNDLED, read_card
from engine.library.hub import Hub, Report
from engine.library.hub_plan import Plan, plan_model
from engine.library.offers import read_offers
from engine.library.safe_path import safe_path
from engine.weights.fingerprints import named_family
from engine.weights.headers import HEADER_MAX_BYTES

FIELD = "model"
_JSON_MAX = 4 * 1024 * 1024
_HEADER_FIRST = 256 * 1024
_TRIES = 4
_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "U8": 8, "I8": 8}
# What a model that was made for Easel may say of itself. Where it came from and under which licence, the hub says.
_OWN_FACTS = ("title", "default_size", "sizes", "default_steps", "default_guidance", "default_scheduler", "note", "about")


class Stopped(Exception):
    """A download was stopped. Not an error: what is here stays, and can be gone on with."""


class HubModels:
    """Brings models into `folder`. What is under way lies in `folder/.downloads`, where no catalogue looks."""

    def __init__(self, folder: Path, hub: Hub | None = None, *, pause_s: float = 2.0) -> None:
        self.folder = folder
        self._hub = hub or Hub()
        self._pause_s = pause_s

    # Looking

    def look(self, text: str, precision: Precision = "half") -> HubModel:
        """What a hub id means now: files, sizes, licence, commit, family. Some kilobytes of settings and headers are read, no weights.

        Raises `InvalidRequest`, `NotFound`, `DamagedFile`, `IncompatibleAdapter` or `EngineError` about the control "model".
        """
        wanted = parse_hub_name(text, FIELD)
        if wanted.file is not None:
            raise InvalidRequest("This names one file.", "Write owner/name for a whole model; a LoRA is fetched under LoRA styles.", FIELD)
        found = self._hub.repository(wanted, FIELD)
        if (listed := found.files.get("model_index.json")) is None:
            hint = "Write the name of a repository in diffusers' layout; a LoRA is fetched under LoRA styles."
            raise NotFound(f"{found.name} is no model in folders: it has no model_index.json.", hint, FIELD)
        index = self._settings(listed)
        plan = plan_model(found.name, index, found.files, precision)
        other = plan_model(found.name, index, found.files, "full" if precision == "half" else "half")
        settings = self._part_settings(found.name, plan)
        width = settings.get("unet", {}).get("cross_attention_dim")
        family = named_family(plan.family.key, width if isinstance(width, int) else None)
        offer = next((one for one in read_offers() if one.hub == found.name), None)
        return HubModel(
            repository=found.name, revision=found.revision, name=self._free_name(found.name, found.revision),
            title=offer.title if offer else found.name.split("/")[1], family=family, licence=found.facts.get("licence", ""),
            note=f"{offer.good_at}." if offer else "", is_gated=found.is_gated, precision=precision,
            other_bytes=other.size_bytes if other.size_bytes != plan.size_bytes else None,
            parts={part: self._half_bytes(files) for part, files in plan.weights.items()}, files=plan.files,
        )  # fmt: skip

    def _settings(self, file: HubFile) -> dict[str, Any]:
        try:
            found = json.loads(self._hub.read(file, _JSON_MAX, FIELD)) if file.size_bytes <= _JSON_MAX else None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise DamagedFile(f"The file {file.path} of {file.repository} is no table of settings.", "Choose another model.", FIELD)
        return found

    def _part_settings(self, name: str, plan: Plan) -> dict[str, dict[str, Any]]:
        """By part, none of them with code of its own."""
        found: dict[str, dict[str, Any]] = {}
        for one in plan.configs:
            settings = self._settings(one)
            if one.path.endswith("/config.json"):
                found[one.path.split("/")[0]] = settings
            if "auto_map" in settings:
                message = f"The {one.path.split('/')[0]} of {name} names code of its own, which Easel does not run."
                raise DamagedFile(message, "Choose another model.", FIELD)
        return found

    def _half_bytes(self, files: tuple[HubFile, ...]) -> int:
        """What the weights of a part take in 16 bit: the header of the first file says in how many bits they lie there."""
        first = files[0]
        start = self._hub.read(first, _HEADER_FIRST, FIELD)
        length = int.from_bytes(start[:8], "little")
        if not 2 <= length <= HEADER_MAX_BYTES:
            raise DamagedFile(f"The file {first.path} of {first.repository} is no safetensors file.", "Choose another model.", FIELD)
        raw = start[8 : 8 + length] if len(start) >= 8 + length else self._hub.read(first, 8 + length, FIELD)[8:]
        try:
            entries = [one for key, one in json.loads(raw).items() if key != "__metadata__"]
            spans = [(str(one["dtype"]), int(one["data_offsets"][1]) - int(one["data_offsets"][0])) for one in entries]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise DamagedFile(f"The header of {first.path} cannot be read.", "Choose another model.", FIELD) from error
        total = sum(size for _, size in spans)
        half = sum(size * 16 / _BITS.get(kind, 16) for kind, size in spans)
        return int(sum(one.size_bytes for one in files) * (half / total if total else 1))

    def _free_name(self, repository: str, revision: str) -> str:
        """Its folder: the repository's own name, or its owner's before it where that is taken. Raises `InvalidRequest` for one that is here."""
        owner, own = repository.split("/")
        for name in (own, f"{owner}-{own}"):
            name = _ODD.sub("-", name).strip("-.")[:64]
            if not name or (BUNDLED / name).exists():
                continue
            if not (self.folder / name).exists():
                return name
            if origin(self.folder / name) == f"{repository}@{revision}":
                raise InvalidRequest(f"{name} is here already, at this very commit.", "Draw with it, or delete it first.", FIELD)
        raise InvalidRequest(f"There are models named {own[:64]} here already.", "Delete or rename one of them first.", FIELD)

    # Fetching

    def begun(self) -> list[HubModel]:
        """What was begun and is not here yet, in order of its name; what is no note of ours is passed over."""
        found: list[HubModel] = []
        for note in sorted(self._aside.glob("*/plan.json")):
            try:
                plan = HubModel.model_validate_json(note.read_bytes())
            except (OSError, ValidationError):
                continue
            if plan.name == note.parent.name:
                found.append(plan)
        return found

    def here_bytes(self, plan: HubModel) -> int:
        """How much of it lies on the disk."""
        files = self._place(plan.name) / "files"
        return sum(min(self._hub.here_bytes(files, one), one.size_bytes) for one in plan.hub_files)

    def begin(self, plan: HubModel) -> None:
        """Note what is to be fetched, so that a studio that is started anew can go on. Raises `InvalidRequest`, `Busy` or `DiskFull`."""
        if (self.folder / plan.name).exists():
            raise InvalidRequest(f"There is a model named {plan.name} here already.", "Delete or rename it first.", FIELD)
        place = self._place(plan.name)
        if any(one.name == plan.name and one.id != plan.id for one in self.begun()):
            raise Busy(f"Another {plan.name} was begun and is not here yet.", "Go on with it, or remove it first.", FIELD)
        with _full_disk():
            place.mkdir(parents=True, exist_ok=True)
            aside = place / "plan.part"
            aside.write_text(plan.model_dump_json(), encoding="utf-8")
            aside.replace(place / "plan.json")

    def fetch(self, plan: HubModel, report: Report | None = None, stop: threading.Event | None = None) -> Path:
        """The model in its place. Begin first.

        A line that breaks is tried again for as long as every try brings something, and a few times more. Raises `Stopped` once
        `stop` is set, and what `Hub.fetch` raises; both leave what has come. Raises `DamagedFile` for a model that cannot be
        loaded, and leaves nothing.
        """
        place, stop = self._place(plan.name), stop or threading.Event()

        def hear(here: int, total: int) -> None:
            if stop.is_set():
                raise Stopped
            if report:
                report(here, total)

        with self._alone(place, plan.title):
            self._fetch_patiently(plan, place / "files", hear, stop)
            with _full_disk():
                ready = self._build(plan, place)
            try:
                check(ready)
            except EngineError:
                shutil.rmtree(place, ignore_errors=True)
                raise
            if (target := self.folder / plan.name).exists():
                raise InvalidRequest(f"There is a model named {plan.name} here by now.", "Delete or rename it, then go on.", FIELD)
            ready.rename(target)
            shutil.rmtree(place, ignore_errors=True)
        return target

    def remove(self, name: str) -> None:
        """Throw away what was begun. Raises `NotFound` or `Busy`."""
        place = self._place(name)
        if not place.is_dir():
            raise NotFound("Nothing of that name is being fetched.", "Load the page again.", FIELD)
        with self._alone(place, name):
            shutil.rmtree(place, ignore_errors=True)

    @property
    def _aside(self) -> Path:
        return self.folder / ".downloads"

    def _place(self, name: str) -> Path:
        return safe_path(self._aside, name)

    def _fetch_patiently(self, plan: HubModel, files: Path, hear: Report, stop: threading.Event) -> None:
        tries, before = 0, self.here_bytes(plan)
        while True:
            try:
                return self._hub.fetch(plan.hub_files, files, what=plan.title, field=FIELD, report=hear)
            except Unreachable:
                here = self.here_bytes(plan)
                tries, before = (1, here) if here > before else (tries + 1, before)
                if tries >= _TRIES:
                    raise
                if stop.wait(self._pause_s * tries):
                    raise Stopped from None

    def _build(self, plan: HubModel, place: Path) -> Path:
        """The folder as it will be, beside the files that have come: made anew each time, so that a death in the middle costs nothing."""
        ready = place / "ready" / plan.name
        shutil.rmtree(ready.parent, ignore_errors=True)
        for one in plan.files:
            source, target = place / "files" / one.path, ready / one.target
            target.parent.mkdir(parents=True, exist_ok=True)
            if one.path.endswith(".json") and ".safetensors.index" in one.path:
                target.write_text(_renamed_index(source, plan), encoding="utf-8")
            elif one.path != "easel.json":
                _link(source, target)
        (ready / "easel.json").write_text(json.dumps(_facts(plan, place / "files" / "easel.json"), indent=1), encoding="utf-8")
        return ready

    @contextmanager
    def _alone(self, place: Path, what: str) -> Generator[None]:
        """One at a time, over all programs that share the folder."""
        place.mkdir(parents=True, exist_ok=True)
        with (place / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise Busy(f"{what} is being fetched already, perhaps by another program.", "Wait until it is here.", FIELD) from error
            yield


def check(folder: Path) -> None:
    """The judgement that every model on the shelf has. Raises `DamagedFile`."""
    if (refusal := read_card(folder).refusal) is not None:
        raise DamagedFile(f"{folder.name} cannot be used: {refusal}", "It was thrown away. Choose another model.", FIELD)


def origin(folder: Path) -> str:
    """Where a model was fetched from, "owner/name@commit"; "" for one that was put there by hand."""
    return str(_own(folder / "easel.json").get("source", ""))[:200]


def _facts(plan: HubModel, own: Path) -> dict[str, Any]:
    """What is remembered of it: its licence, its commit, and what it says of itself."""
    said = {name: value for name, value in _own(own).items() if name in _OWN_FACTS}
    known = {"title": plan.title, "note": plan.note} if plan.note else {"title": plan.title}
    return {**said, **known, "licence": plan.licence, "source": plan.id}


def _own(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _renamed_index(source: Path, plan: HubModel) -> str:
    """The list of which tensor lies in which file, with the names that the files have here."""
    part = f"{source.parent.name}/"
    names = {path.removeprefix(part): name for path, name in plan.renamed.items() if path.startswith(part)}
    found = _own(source)
    listed = found.get("weight_map", {})
    pairs: Iterable[tuple[Any, Any]] = listed.items() if isinstance(listed, dict) else ()
    return json.dumps({**found, "weight_map": {str(key): names.get(str(file), str(file)) for key, file in pairs}}, indent=1)


def _link(source: Path, target: Path) -> None:
    """The same bytes under another name; a copy where the disk knows no second names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@contextmanager
def _full_disk() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise DiskFull("There is no room left on the studio's disk, or it cannot be written.", "Free some space, then go on.", FIELD) from error
