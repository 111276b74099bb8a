"""Control units from what was asked for to what runs: models found and judged, maps made once and remembered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

from engine.contract.controls import ControlCard, ControlUse, PreprocessorCard, check_settings
from engine.contract.errors import Busy
from engine.contract.models import ModelCard
from engine.contract.preprocessors import NO_PREPROCESSOR
from engine.contract.results import InputImage
from engine.contract.work import MapTask
from engine.jobs.hosts.maps import MapHost
from engine.library.controlnets import ControlNets
from engine.library.inputs import Inputs
from engine.library.maps import Maps, map_key
from engine.library.preprocessors import Preprocessors

# Made and waiting, of all visitors together: one after the other is made.
MAPS_AT_ONCE = 16


class ControlDesk:
    """What the page, the resolver and the terminal ask about controls and their maps."""

    def __init__(
        self, *, shelf: ControlNets, preprocessors: Preprocessors, maps: Maps, inputs: Inputs, host: MapHost, check_room: Callable[[str], None]
    ) -> None:
        self._shelf = shelf
        self._preprocessors = preprocessors
        self._maps = maps
        self._inputs = inputs
        self._host = host
        # Raises `Busy` for an owner who has brought as much as each may.
        self._check_room = check_room
        self._places = threading.BoundedSemaphore(MAPS_AT_ONCE)

    def cards(self) -> list[ControlCard]:
        """The control models that are here now; one that cannot be used says why in its card."""
        return self._shelf.cards()

    def preprocessors(self) -> list[PreprocessorCard]:
        """What makes maps, ready or not; one that needs weights says how many megabytes and under which licence."""
        return self._preprocessors.cards()

    def fetch(self, preprocessor: str, report: Callable[[int, int], None] | None = None) -> Path:
        """Bring the weights of one preprocessor here, for an operator who has read their size and licence.

        `report` hears bytes that are here, of how many. Raises `EngineError`; what a broken line left is gone on with.
        """
        return self._preprocessors.fetch(preprocessor, report)

    def close(self) -> None:
        self._host.close()

    def map(self, source: str, preprocessor: str, settings: Mapping[str, float], owner: str) -> InputImage:
        """The map of one of the owner's pictures, as an input of theirs; "none" is the picture itself. Made once, then remembered.

        It may take seconds, and a quarter of a minute the first time: call it in a thread. Raises `NotFound`,
        `InvalidRequest`, `ModelNotFound` where weights are not here yet, or `WorkerLost`, all of them about "controls"; `Busy` where no room is left
        or too many are being made.
        """
        known = self._inputs.get(source, owner, field="controls")
        settings = check_settings(preprocessor, settings)
        if preprocessor == NO_PREPROCESSOR:
            return known
        key = map_key(source, preprocessor, settings)
        if (found := self._maps.find(key)) is not None and (lent := self._inputs.lend(found[0], owner, note=found[1])) is not None:
            return lent
        self._check_room(owner)
        task = MapTask(preprocessor, settings, self._inputs.path(source), self._preprocessors.folder(preprocessor))
        # Each that waits holds a thread of the server, which has 40 for everything that a page asks for.
        if not self._places.acquire(blocking=False):
            raise Busy("Many maps are being made at this moment.", "Try again in a few seconds.", "controls")
        try:
            made = self._host.make(task)
        finally:
            self._places.release()
        kept = self._inputs.add(Image.frombytes("RGB", (made.width, made.height), made.rgb), owner, note=made.note)
        self._maps.remember(key, kept.hash, made.note)
        return kept

    def resolve(self, uses: tuple[ControlUse, ...], model: ModelCard, owner: str, *, makes_maps: bool = True) -> tuple[ControlUse, ...]:
        """The units complete: model and settings filled in, pinned by hashes, each with its map.

        Every model is judged before the first map is made. Without `makes_maps` no map is made: enough to say how long a job takes.
        """
        cards = [self._shelf.pick(use.control, use.preprocessor, model) for use in uses]
        resolved: list[ControlUse] = []
        for use, card in zip(uses, cards, strict=True):
            settings = check_settings(use.preprocessor, use.settings)
            finished = self.map(use.image, use.preprocessor, settings, owner).hash if makes_maps and not use.is_idle else None
            pinned = {"control": card.name, "control_hash": card.content_hash, "settings": settings, "map": finished}
            resolved.append(use.model_copy(update=pinned))
        return tuple(resolved)
