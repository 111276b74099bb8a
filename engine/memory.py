"""How models are laid into memory here: as the studio was started, or as its operator chose on the page."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from engine.contract.errors import InvalidRequest
from engine.contract.memory import Fit, Memory, MemoryChoice, Packing, Room, fit
from engine.contract.memory_plans import PACKAGES, MemoryPlan, memory_plans
from engine.contract.models import ModelCard
from engine.contract.settings import Settings
from engine.library.studio_file import StudioFile
from engine.machine import device_kind, find_room


class MemoryDesk:
    """A start with `--memory` counts for as long as it runs: then `is_given` holds."""

    def __init__(self, settings: Settings) -> None:
        self._kept = StudioFile(settings.data)
        self._given: MemoryChoice = settings.memory
        self._gb = settings.memory_gb
        # Several devices are of one kind: the first speaks for them.
        self._device = settings.devices[0]
        self.is_given = "memory" in settings.model_fields_set

    @property
    def choice(self) -> MemoryChoice:
        """The plan that the next picture is drawn under. What was chosen and cannot work here any more, say because a package is gone, does not count."""
        kept = None if self.is_given else self._kept.get("memory")
        usable: dict[str, MemoryChoice] = {one.choice: one.choice for one in self.plans() if one.refusal is None}
        return usable.get(kept or "", self._given)

    def choose(self, name: str) -> None:
        """For an operator; the next picture's model is laid in so. Raises `InvalidRequest` for what cannot work here, or where the start of the studio has decided."""
        found = next((one for one in self.plans() if one.choice == name), None)
        if found is None:
            raise InvalidRequest(
                f"There is no memory plan {name[:40]!r}.", f"Choose one of {', '.join(one.choice for one in self.plans())}.", "memory"
            )
        if found.refusal is not None:
            raise InvalidRequest(f"{found.title} cannot be chosen here: {found.refusal}", "Choose another memory plan.", "memory")
        if self.is_given:
            message = f"This studio was started with --memory {self._given}."
            raise InvalidRequest(message, "Start it without --memory to choose the plan here.", "memory")
        self._kept.keep("memory", found.choice)

    def plans(self) -> tuple[MemoryPlan, ...]:
        """Every one; what cannot work on this device says why."""
        return memory_plans(device_kind(self._device), frozenset(name for name in PACKAGES.values() if find_spec(name) is not None))

    def room(self) -> Room:
        """The memory of the device that draws, the first of several."""
        return find_room(self._device, self._gb)

    def fit(self, parts: Mapping[str, int]) -> Fit:
        """How a model of these parts would be laid into that memory. Sizes are bytes by component."""
        return fit(parts, self.room(), self.choice)

    def weights(self, model: ModelCard) -> Packing | None:
        """How the weights of a model would lie now. Those of a GGUF are small already and stay as they are."""
        return None if model.name.lower().endswith(".gguf") else self.fit(model.parts).weights

    def for_hosts(self) -> Memory:
        """What a worker begins with; each work then says what counts by now."""
        return Memory(self._gb, self.choice)
