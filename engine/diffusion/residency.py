"""Which parts of which models lie where: a book of bytes, least recently used out. Knows no tensors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Literal, Protocol

# On the device, in host memory, or only on disk. Where the device is the computer itself, nothing is ever in "host".
Place = Literal["device", "host", "disk"]


class Resident(Protocol):
    """Something that takes `bytes` wherever it is but on disk. `place` is true at every moment, also when `move` has raised."""

    @property
    def bytes(self) -> int: ...

    @property
    def place(self) -> Place: ...

    def move(self, place: Place) -> None: ...


class Residency:
    """A budget for the device and one for host memory. Whatever is used goes to the end; whatever is in the way goes out from the front.

    Nothing is counted twice or remembered: the sums are taken from what each part says of itself, so a move that
    raises half way leaves the book right.
    """

    def __init__(self, *, device_bytes: int, host_bytes: int | None) -> None:
        """`host_bytes` None: the device's memory is the host's, and what has to go is dropped."""
        self.device_bytes = device_bytes
        self._host_bytes = host_bytes
        self._held: OrderedDict[Hashable, Resident] = OrderedDict()

    @property
    def is_split(self) -> bool:
        """Whether the device has a memory of its own."""
        return self._host_bytes is not None

    def hold(self, key: Hashable, resident: Resident) -> None:
        """Begin to count it, as the one used last."""
        self._held[key] = resident
        self._held.move_to_end(key)

    def forget(self, keys: Iterable[Hashable]) -> None:
        """Stop counting what its owner has let go."""
        for key in list(keys):
            self._held.pop(key, None)

    def place(self, key: Hashable) -> Place:
        return self._held[key].place

    def bytes_on(self, place: Place) -> int:
        return sum(one.bytes for one in self._held.values() if one.place == place)

    def use(self, keys: Iterable[Hashable], *, spare: int = 0) -> None:
        """Bring these onto the device, with `spare` bytes free beside them as far as others can make room."""
        keys = list(keys)
        for key in keys:
            self._held.move_to_end(key)
        missing = [self._held[key] for key in keys if self._held[key].place != "device"]
        self.make_room(sum(one.bytes for one in missing) + spare, kept=keys)
        for one in missing:
            one.move("device")

    def hold_ready(self, keys: Iterable[Hashable]) -> None:
        """Bring these into host memory, for parts that are larger than the device."""
        for key in keys:
            self._held.move_to_end(key)
            if self._held[key].place != "host":
                self.make_room(self._held[key].bytes, place="host")
                self._held[key].move("host")

    def make_room(self, wanted: int, *, place: Place = "device", kept: Iterable[Hashable] = ()) -> None:
        """Move parts off a place, least recently used first, until `wanted` more bytes fit or only `kept` are left."""
        limit = self._host_bytes if place == "host" and self._host_bytes is not None else self.device_bytes
        spared, over = set(kept), self.bytes_on(place) + wanted - limit
        for key in list(self._held):
            if over <= 0:
                return
            if key not in spared and self._held[key].place == place:
                over -= self._held[key].bytes
                if place == "device":
                    self.rest([key])
                else:
                    self._held[key].move("disk")

    def rest(self, keys: Iterable[Hashable]) -> None:
        """Off the device: to host memory where there is some to spare, else dropped."""
        for key in keys:
            one = self._held[key]
            if one.place == "device":
                one.move("host" if self._fits_host(one.bytes) else "disk")

    def rest_all(self) -> None:
        """Everything off the device."""
        self.rest(list(self._held))

    def _fits_host(self, coming: int) -> bool:
        if self._host_bytes is None or coming > self._host_bytes:
            return False
        self.make_room(coming, place="host")
        return True
