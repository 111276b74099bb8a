"""The modules of a model as things that can leave the device and come back the same to the bit."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any

import torch

from engine.contract.memory import STREAMED_SHARE, MemoryChoice, Packing, Plan, is_text_encoder, work_bytes
from engine.diffusion.packing import is_packed, stored_bytes
from engine.diffusion.residency import Place, Residency

# Words take little beside the weights that read them.
_WORDS_BYTES = 64 * 1024**2


class Part:
    """A module and where its weights are. The module itself stays what it is, hooks and references to it included:

    on disk it is a shell whose weights have no storage, and `load` (device → the same module afresh) fills it again.
    """

    def __init__(self, module: Any, load: Callable[[torch.device], Any], device: torch.device, *, place: Place = "device") -> None:
        self.module = module
        self.place: Place = place
        self._load = load
        self.device = device
        self.is_streamed = False
        self._bytes = module_bytes(module)

    @property
    def bytes(self) -> int:
        return int(self._bytes * STREAMED_SHARE) if self.is_streamed else self._bytes

    def move(self, place: Place) -> None:
        if place == self.place:
            return
        if self.is_streamed:
            # Its layers move by themselves, and their hooks know these very weights.
            self.place = "device" if place == "device" else "host"
            return
        # Also where a run without gradients is under way: who scores pictures derives through these weights.
        with torch.inference_mode(False):
            self._move(place)
        self.place = place

    def _move(self, place: Place) -> None:
        target = self.device if place == "device" else torch.device("cpu")
        if place == "disk":
            empty(self.module)
        elif self.place == "disk":
            adopt(self.module, self._load(target))
        elif place == "host":
            self.module.to(target)
            if self.device.type == "cuda":
                # The way back is quicker from pages that stay where they are; a host that has none to spare does without.
                with suppress(RuntimeError):
                    self.module._apply(lambda values: values.pin_memory())
        else:
            try:
                self.module.to(target)
            except RuntimeError:
                # Some of it came: nothing is to lie half here and half there.
                self.module.to("cpu")
                raise

    def stream(self) -> None:
        """From now on its layers come onto the device when their turn is, and leave it after. For good: the model is to be let go after that."""
        if self.is_streamed:
            return
        if self.place == "disk":
            adopt(self.module, self._load(torch.device("cpu")))
        self.module.to("cpu")
        self.place = "host"
        self.module.enable_group_offload(
            onload_device=self.device, offload_device=torch.device("cpu"), offload_type="leaf_level", use_stream=self.device.type == "cuda"
        )
        self.is_streamed = True


class Stay:
    """Where the parts of one model lie while it works, as its plan says, and what works with it without being its own."""

    def __init__(
        self,
        residency: Residency,
        model: str,
        parts: Mapping[str, Part],
        network: str,
        plan: Plan,
        packing: Packing | None = None,
        weights: Packing | None = None,
    ) -> None:
        self.plan: Plan = plan
        self.packing = packing
        # How the numbers of its large parts really lie, casts included.
        self.weights: Packing | None = weights
        # What the plan was made from.
        self.choice: MemoryChoice = "automatic"
        self.parts: Mapping[str, Part] = parts
        # What works at every call of a part in this run: controls beside the denoiser, a scorer beside the VAE.
        self._beside: Mapping[str, tuple[str, ...]] = {}
        # What stands in the place of a part in this run: another VAE.
        self._instead: Mapping[str, str] = {}
        # Bytes that a run puts into the denoiser: adapters.
        self._put_in = 0
        # What was read for this model and nobody else keeps.
        self._own: set[str] = set()
        self._residency = residency
        self._device = next((part.device for part in parts.values()), torch.device("cpu"))
        self._model = model
        self._network = network
        self._spare = work_bytes({name: part.bytes for name, part in parts.items()})

    @property
    def keys(self) -> list[tuple[str, str]]:
        return [(self._model, name) for name in (*self.parts, *self._own)]

    @property
    def spare(self) -> int:
        """Bytes that are left for what is computed when its weights are where they belong."""
        taken = max((part.bytes for part in self.parts.values()), default=0) if self.turns else sum(part.bytes for part in self.parts.values())
        return max(self._residency.device_bytes - taken, self._spare)

    @property
    def turns(self) -> bool:
        """Whether parts make room for each other."""
        return self.plan not in ("whole", "text encoder on CPU")

    @property
    def is_warm(self) -> bool:
        """Whether nothing has to be read from disk to begin."""
        return all(part.place != "disk" for part in self.parts.values()) or self.turns

    @property
    def is_gone(self) -> bool:
        """Whether nothing of it is in memory."""
        return all(part.place == "disk" for part in self.parts.values())

    @property
    def is_streamed(self) -> bool:
        return self._network in self.parts and self.parts[self._network].is_streamed

    def use(self, names: Iterable[str]) -> None:
        """Bring the parts of one stage of a run to where they work: those that read words, the denoiser, or the autoencoder."""
        names = tuple(names)
        working = [self._key(name) for name in dict.fromkeys((*self.parts, *self._instead))]
        wanted = [self._key(name) for name in names if name in self.parts or name in self._instead]
        is_reading = all(is_text_encoder(name) for name in names)
        spare = _WORDS_BYTES if is_reading else self._spare
        if self._network in names:
            spare += self._put_in
        beside = [(self._model, other) for name in names for other in self._beside.get(name, ())]
        if self.plan == "whole":
            self._residency.use([*working, *beside], spare=spare)
            return
        if self.plan == "text encoder on CPU":
            if not is_reading:
                self._residency.rest(key for key in working if is_text_encoder(key[1]))
                wanted = [key for key in working if not is_text_encoder(key[1])]
        else:
            self._residency.rest(key for key in working if key not in wanted)
        if is_reading and sum(self.parts[name].bytes for name in names if name in self.parts) > self._residency.device_bytes:
            # An encoder that the device cannot hold reads where it lies.
            self._residency.hold_ready(wanted)
            return
        self._residency.use([*wanted, *beside], spare=spare)

    def _key(self, name: str) -> tuple[str, str]:
        return self._model, self._instead.get(name, name)

    def make_room(self, wanted: int) -> None:
        """Before something of so many bytes is read onto the device. The denoiser stays: what is read may be made from its weights."""
        self._residency.make_room(wanted, kept=[(self._model, self._network)])

    def hold(self, name: str, module: torch.nn.Module, load: Callable[[torch.device], Any], *, is_own: bool = False) -> None:
        """Count a module that works with this model and is none of its parts: a control, an image encoder, an upscaler, a scorer.

        What `is_own` goes when the model does; the others are their shelf's to forget.
        """
        self._residency.hold((self._model, name), Part(module, load, self._device))
        if is_own:
            self._own.add(name)

    def bring(self, name: str, *, spare: int = 0) -> None:
        """Onto the device, whatever the plan says of the model's own parts, with `spare` bytes to work in."""
        self._residency.use([(self._model, name)], spare=spare)

    def forget(self, names: Iterable[str]) -> None:
        self._residency.forget((self._model, name) for name in names)

    @contextmanager
    def beside(self, names: Mapping[str, Iterable[str]], *, instead: Mapping[str, str] | None = None, put_in: int = 0) -> Generator[None]:
        """While inside, `names` work at every call of their part and come and go with it, `instead` stands in the place of parts,

        and `put_in` bytes of adapters lie in the denoiser.
        """
        self._beside = {part: tuple(dict.fromkeys(others)) for part, others in names.items()}
        self._instead, self._put_in = instead or {}, put_in
        try:
            yield
        finally:
            self._beside, self._instead, self._put_in = {}, {}, 0

    def drop(self) -> None:
        """Give back the memory of its parts, also where somebody still holds them. Those that are streamed keep theirs: their hooks know them."""
        for part in self.parts.values():
            if not part.is_streamed:
                part.move("disk")
        # A shelf may hold this stay longer than the model is here.
        self.parts = {}

    @contextmanager
    def under(self, plan: Plan) -> Generator[None]:
        """Work under another plan for a while."""
        before, self.plan = self.plan, plan
        if plan == "in pieces":
            self.parts[self._network].stream()
        try:
            yield
        finally:
            self.plan = before


def module_bytes(module: torch.nn.Module) -> int:
    """What its weights take; those that are shared count once."""
    return sum({id(one): stored_bytes(one) for one in chain(module.parameters(), module.buffers())}.values())


def empty(module: torch.nn.Module) -> None:
    """Give back the memory of its weights. Adapters inside keep theirs: nobody could fill them again."""
    for name, one in module.named_modules():
        if "lora_" not in name:
            _replace(one, {key: _without_storage(value) for key, value in _tensors(one).items()})


def adopt(shell: torch.nn.Module, fresh: torch.nn.Module) -> None:
    """Give an emptied module the weights of one of the same making. Layers that carry adapters are filled underneath them."""
    for name, one in fresh.named_modules():
        place: Any = shell.get_submodule(name)
        _replace(getattr(place, "base_layer", place), _tensors(one))


def _tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A module's own, without those of its children."""
    return dict(chain(module.named_parameters(recurse=False, remove_duplicate=False), module.named_buffers(recurse=False, remove_duplicate=False)))


def _replace(module: torch.nn.Module, values: Mapping[str, torch.Tensor]) -> None:
    for name, value in values.items():
        # Parameters and buffers keep their kind: a parameter may only be followed by a parameter.
        setattr(module, name, value)


def _without_storage(value: torch.Tensor) -> torch.Tensor:
    # A quantised weight has no shell of its own kind.
    shell = torch.empty(value.shape, dtype=value.dtype, device="meta") if is_packed(value) else torch.empty_like(value, device="meta")
    return torch.nn.Parameter(shell, requires_grad=False) if isinstance(value, torch.nn.Parameter) else shell
