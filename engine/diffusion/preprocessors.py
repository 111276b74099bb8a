"""Pictures to control maps. controlnet-aux and transformers do the looking; sizes, seeds and silence are kept here."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.contract.errors import DamagedFile, InvalidRequest, OutOfMemory
from engine.contract.preprocessors import PREPROCESSORS
from engine.contract.work import MapPixels, MapTask
from engine.diffusion.device import host_bytes, is_out_of_memory, pick_device, pick_room, unless_memory_ran_out
from engine.diffusion.images import Rgb, pad_edges, read_rgb, resize
from engine.diffusion.parts import module_bytes
from engine.diffusion.residency import Place, Residency
from engine.diffusion.tiny_depth import estimate_depth, load_tiny_depth

# A larger source is looked at smaller: no control model sees more than this, and memory has an end.
EDGE_MAX = 2048
_GRID = 64
Settings = Mapping[str, float]


@dataclass(frozen=True)
class Preprocessor:
    """How one is built from the library and its weights' folder, and what it is told: settings to its own words."""

    build: Callable[[Any, Path], Any]
    options: Callable[[Settings], dict[str, Any]]
    has_image_resolution: bool = True


def _plain(kind: str, options: Callable[[Settings], dict[str, Any]], **more: bool) -> Preprocessor:
    return Preprocessor(lambda aux, _folder: getattr(aux, kind)(), options, **more)


def _taught(kind: str, options: Callable[[Settings], dict[str, Any]] = lambda _: {}, **names: str) -> Preprocessor:
    return Preprocessor(lambda aux, folder: getattr(aux, kind).from_pretrained(str(folder), **names), options)


ROWS: dict[str, Preprocessor] = {
    "canny": _plain("CannyDetector", lambda s: {"low_threshold": int(s["low"]), "high_threshold": int(s["high"])}),
    "lineart_standard": _plain(
        "LineartStandardDetector", lambda s: {"guassian_sigma": s["sigma"], "intensity_threshold": s["threshold"]}, has_image_resolution=False
    ),
    "shuffle": _plain("ContentShuffleDetector", lambda _: {}),
    "hed": _taught("HEDdetector", lambda s: {"safe": bool(s["safe"]), "scribble": bool(s["scribble"])}),
    "pidinet": _taught("PidiNetDetector", lambda s: {"safe": bool(s["safe"]), "scribble": bool(s["scribble"])}),
    "lineart": _taught("LineartDetector", lambda s: {"coarse": bool(s["coarse"])}),
    "lineart_anime": _taught("LineartAnimeDetector"),
    "mlsd": _taught("MLSDdetector", lambda s: {"thr_v": s["score"], "thr_d": s["distance"]}),
    "openpose": _taught("OpenposeDetector", lambda s: {"include_hand": bool(s["hands"]), "include_face": bool(s["face"])}),
    "normalbae": _taught("NormalBaeDetector"),
    "midas": _taught("MidasDetector"),
    "zoe": _taught("ZoeDetector"),
    "leres": _taught("LeresDetector", lambda s: {"thr_a": s["near"], "thr_b": s["far"]}),
    "sam": _taught("SamDetector", filename="checkpoints/sam_vit_h_4b8939.pth"),
}


_Key = tuple[str, Path | None]
# A budget beside that of the models, which another process keeps: this share of the computer's memory.
_SHARE = 0.125


class MapMaker:
    """Keeps the networks that were used last within a budget: people turn a knob more often than they change the preprocessor.

    A device with a memory of its own holds none of them longer than a map takes: it is the models'.
    """

    def __init__(self, *, device: str = "auto", budget_bytes: int | None = None) -> None:
        self._device = pick_device(device)
        room, budget = pick_room(self._device, None), int(host_bytes() * _SHARE) if budget_bytes is None else budget_bytes
        # On a card a map takes the room that it needs; what has to wait waits in the computer's memory.
        self._residency = Residency(device_bytes=budget if room.is_host else room.bytes, host_bytes=None if room.is_host else budget)
        self._held: dict[_Key, Detector] = {}

    def make(self, task: MapTask) -> MapPixels:
        """The map at the picture's own size, or at 2048 pixels along the long edge if it is larger. Raises `DamagedFile` or `OutOfMemory`."""
        try:
            return self._make(task)
        finally:
            if self._residency.is_split:
                self._residency.rest_all()
            self._let_go()

    def _make(self, task: MapTask) -> MapPixels:
        source = read_rgb(task.source)
        image = _shrunk(source, EDGE_MAX)
        notes = [f"The map was made at {image.shape[1]} × {image.shape[0]}."] if image.shape != source.shape else []
        try:
            made = self._look(task, image)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise _out_of_memory(task) from error
            raise
        if not made.any():
            notes.append("Nothing was found: the map is empty.")
        return MapPixels(made.shape[1], made.shape[0], made.tobytes(), " ".join(notes))

    def _look(self, task: MapTask, image: Rgb) -> Rgb:
        detector = self._detector(task)
        with quiet(), seeded(int(task.settings.get("seed", 0))), torch.inference_mode():
            if task.preprocessor == "depth":
                return np.repeat(estimate_depth(detector, image)[..., None], 3, axis=2)
            if task.preprocessor == "depth_anything":
                return look_deep(detector, image)
            return look(detector, ROWS[task.preprocessor], image, task.settings, task.preprocessor)

    def _detector(self, task: MapTask) -> Any:
        key = (task.preprocessor, task.weights)
        if key not in self._held:
            # Before it is read: its files are about what it takes.
            self._residency.make_room(_file_bytes(task.weights))
            self._let_go()
            self._held[key] = Detector(build(task.preprocessor, task.weights, self._device), self._device)
            self._residency.hold(key, self._held[key])
        self._residency.use([key])
        self._let_go()
        return self._held[key].library

    def _let_go(self) -> None:
        """Of what had to go: it is built again when it is wanted."""
        gone = [key for key, one in self._held.items() if one.place == "disk"]
        self._residency.forget(gone)
        for key in gone:
            del self._held[key]


class Detector:
    """A preprocessor of the library with the networks inside it, to be counted and moved. On disk it is not kept at all."""

    def __init__(self, library: Any, device: torch.device) -> None:
        self.library = library
        self.place: Place = "device"
        self._device = device
        self._networks = networks_of(library)
        self.bytes = sum(module_bytes(one) for one in self._networks)

    def move(self, place: Place) -> None:
        if place != "disk":
            target = self._device if place == "device" else torch.device("cpu")
            # The library's own way where it has one: some remember where they are.
            for one in [self.library] if hasattr(self.library, "to") else self._networks:
                one.to(target)
            if hasattr(self.library, "device") and not hasattr(self.library, "to"):
                self.library.device = target
        self.place = place


def networks_of(library: Any) -> list[torch.nn.Module]:
    """The networks that such an object holds, one level or two deep: a detector's own, or those of the estimators inside it."""
    if isinstance(library, torch.nn.Module):
        return [library]
    found: list[torch.nn.Module] = []
    for one in vars(library).values() if hasattr(library, "__dict__") else ():
        if isinstance(one, torch.nn.Module):
            found.append(one)
        elif type(one).__module__.startswith("controlnet_aux"):
            found += networks_of(one)
    return found


def _file_bytes(weights: Path | None) -> int:
    return 0 if weights is None else sum(file.stat().st_size for file in weights.rglob("*") if file.is_file())


def build(name: str, weights: Path | None, device: torch.device) -> Any:
    """The library's own object. Raises `DamagedFile` when its weights are not what they claim to be."""
    if name == "depth":
        return load_tiny_depth(device=device)
    with quiet():
        try:
            if name == "depth_anything":
                from transformers import pipeline

                return pipeline("depth-estimation", model=str(weights), device=device)
            # 2.8 seconds and many warnings, so only when a map is wanted.
            import controlnet_aux

            detector = ROWS[name].build(controlnet_aux, weights or Path())
        except (OSError, EOFError, KeyError, ValueError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
            unless_memory_ran_out(error)
            message = f"The weights of {PREPROCESSORS[name].title} cannot be read."
            raise DamagedFile(message, f"Remove {weights} and fetch them again.", "controls") from error
    return detector.to(device) if weights is not None and hasattr(detector, "to") else detector


def look(detector: Any, row: Preprocessor, image: Rgb, settings: Settings, name: str) -> Rgb:
    """(H, W, 3) uint8 → a map of the same size.

    The library brings the short edge to a resolution and both to multiples of 64, which bends the picture. It is given one
    that has such a size already, by its border repeated outwards, and what was added is cut off the map again.
    """
    height, width = image.shape[:2]
    scaled = image
    if "resolution" in settings:
        scale = min(settings["resolution"] / min(height, width), EDGE_MAX / max(height, width))
        scaled = resize(image, max(1, round(width * scale)), max(1, round(height * scale)))
    high, wide = scaled.shape[:2]
    framed = pad_edges(scaled, 0, 0, -wide % _GRID, -high % _GRID)
    edge = min(framed.shape[:2])
    sizes = {"detect_resolution": edge, **({"image_resolution": edge} if row.has_image_resolution else {})}
    try:
        made = np.asarray(detector(framed, output_type="np", **sizes, **row.options(settings)), np.uint8)
    except (AttributeError, AssertionError) as error:
        if name == "sam":
            # Where it finds no segment at all the library passes on nothing, and trips over it.
            raise InvalidRequest("No segment was found in this picture.", "Choose another preprocessor.", "controls") from error
        raise
    made = made if made.ndim == 3 else np.repeat(made[..., None], 3, axis=2)
    return np.ascontiguousarray(resize(np.ascontiguousarray(made[:high, :wide]), width, height))


def look_deep(estimator: Any, image: Rgb) -> Rgb:
    """Depth of a picture, (H, W, 3) uint8: near is white."""
    from PIL import Image

    depth = np.asarray(estimator(Image.fromarray(image))["predicted_depth"], np.float32).squeeze()
    low, high = float(depth.min()), float(depth.max())
    # A plane is black, not the rounding of its own distance spread over all greys.
    reach = high - low if high - low > 1e-5 * max(abs(high), abs(low)) else np.inf
    grey = np.rint((depth - low) / reach * 255).astype(np.uint8)
    return np.ascontiguousarray(resize(np.repeat(grey[..., None], 3, axis=2), image.shape[1], image.shape[0]))


@contextmanager
def quiet() -> Generator[None]:
    """Without the library's many warnings about packages that it would also like to have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """NumPy's global chance, which the library draws from, as it is after this seed; afterwards as it was before."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


def _shrunk(image: Rgb, edge: int) -> Rgb:
    scale = edge / max(image.shape[:2])
    return image if scale >= 1 else resize(image, max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))


def _out_of_memory(task: MapTask) -> OutOfMemory:
    return OutOfMemory(f"There is not enough memory for {PREPROCESSORS[task.preprocessor].title}.", "Choose less detail.", "controls")
