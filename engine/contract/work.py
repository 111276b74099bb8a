"""What goes to whatever draws, and what comes back: plain facts, so that they cross processes and, later, machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.contract.memory import MemoryChoice, Packing
from engine.contract.recipe import Recipe

# What is wanted of a run that is under way: to end, to end and keep what there is of the picture, to be put aside, or to make room because the studio closes.
Wish = Literal["stop", "keep", "pause", "leave"]


@dataclass(frozen=True)
class Work:
    """One recipe to draw with the model in `model_folder`, skipping pictures and tiles that an earlier attempt finished.

    `inputs` are files of the recipe's pictures by hash.
    """

    job_id: str
    recipe: Recipe
    model_folder: Path
    skip: frozenset[int] = frozenset()
    inputs: Mapping[str, Path] = field(default_factory=dict)
    upscaler: Path | None = None
    # The VAE in place of the model's own, a file or a folder.
    vae: Path | None = None
    # Files of the recipe's adapters, in their order.
    loras: tuple[Path, ...] = ()
    # For each of the recipe's references the file of its adapter and the folder of its image encoder.
    references: tuple[tuple[Path, Path], ...] = ()
    # Tiles that a stopped run has finished, by (picture, tile, how the weights lay that drew it).
    tiles: Mapping[tuple[int, int, Packing | None], Path] = field(default_factory=dict)
    # Files of the recipe's embeddings, by name.
    embeddings: Mapping[str, Path] = field(default_factory=dict)
    # Files or folders of the recipe's controls, by name.
    controls: Mapping[str, Path] = field(default_factory=dict)
    # With the job's id it names this run: what is wanted of another run of the same job does not reach it.
    attempt: int = 1
    # Where the job was put aside, as `Frozen` left it.
    frozen: Path | None = None
    # Seconds that it will take; None while nothing is known.
    expected_s: float | None = None
    # How its model is to be laid in; None is as the host was told.
    memory: MemoryChoice | None = None


@dataclass(frozen=True)
class MapTask:
    """One map to make of the picture in `source`. `weights` is the folder of what the preprocessor was taught, where it was taught."""

    preprocessor: str
    settings: Mapping[str, float]
    source: Path
    weights: Path | None = None


@dataclass(frozen=True)
class MapPixels:
    """A finished map: height × width × 3 bytes. `note` says what a person should know about it."""

    width: int
    height: int
    rgb: bytes
    note: str = ""


@dataclass(frozen=True)
class Loads:
    """A model is being read."""

    what: str


@dataclass(frozen=True)
class BegunAnew:
    """The work begins its picture again: with less memory, or with other weights than it was put aside with. `what` says so to a person."""

    what: str


@dataclass(frozen=True)
class Sketch:
    """A preview as it leaves the device: height × width × 3 bytes, to be shown with its longer edge at `edge` pixels.

    Whoever receives it makes a picture file of it: the next step does not wait for that.
    """

    width: int
    height: int
    rgb: bytes
    edge: int


@dataclass(frozen=True)
class Stepped:
    """Step `step` of `steps` of tile `tile` (from 0) of `tiles` of picture `picture` is done."""

    picture: int
    step: int
    steps: int
    preview: Sketch | None
    tile: int = 0
    tiles: int = 1


@dataclass(frozen=True)
class Pixels:
    """Picture `picture` is drawn: `rgb` holds height × width × 3 bytes. `packing` is how the weights lay that drew it."""

    picture: int
    width: int
    height: int
    rgb: bytes
    seconds: float
    packing: Packing | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Partial(Pixels):
    """What there was of a picture when it was stopped after `calls` calls of the model: as the model foresaw it there."""

    calls: int


@dataclass(frozen=True)
class TilePixels:
    """Tile `tile` of picture `picture` is drawn: worth keeping, so that a stopped run can go on from there."""

    picture: int
    tile: int
    width: int
    height: int
    rgb: bytes
    packing: Packing | None = None


@dataclass(frozen=True)
class Stopped:
    """The work was stopped on request after `step` steps of the current picture."""

    step: int


@dataclass(frozen=True)
class Frozen:
    """The work was put aside after `step` steps of picture `picture`. `state` is a safetensors file to go on from, bit for bit;

    None where nothing is under way, or what is can be had again from finished tiles.
    """

    picture: int
    step: int
    state: bytes | None


@dataclass(frozen=True)
class Skipped:
    """Picture `picture` was left out on request."""

    picture: int


HostMessage = Loads | BegunAnew | Stepped | TilePixels | Pixels | Partial | Stopped | Frozen | Skipped
