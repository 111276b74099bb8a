"""Slowing down whoever guesses: passwords, codes."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict

from starlette.requests import Request

_WINDOW_S = 300
_REMEMBERED_MAX = 4096


class Throttle:
    """At most so many failures in five minutes, for an address and for a name. Remembers a bounded number of both."""

    def __init__(self, *, by_address: int, by_name: int) -> None:
        self._by_address, self._by_name = by_address, by_name
        self._failures: OrderedDict[str, list[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, address: str, name: str) -> int:
        """Seconds until another try is looked at; 0 now."""
        with self._lock:
            return max(self._wait(f"a {address}", self._by_address), self._wait(f"n {name[:64]}", self._by_name))

    def failed(self, address: str, name: str) -> None:
        with self._lock:
            for key in (f"a {address}", f"n {name[:64]}"):
                self._failures.setdefault(key, []).append(time.monotonic())
                self._failures.move_to_end(key)
            while len(self._failures) > _REMEMBERED_MAX:
                self._failures.popitem(last=False)

    def _wait(self, key: str, most: int) -> int:
        since = time.monotonic() - _WINDOW_S
        recent = [at for at in self._failures.get(key, []) if at > since][-most:]
        if not recent:
            self._failures.pop(key, None)
            return 0
        self._failures[key] = recent
        return int(recent[0] - since) + 1 if len(recent) >= most else 0


def address_of(request: Request) -> str:
    """Where a request comes from. Of IPv6 the part that one household has: the rest of it they can choose anew for every guess."""
    host = request.client.host if request.client else "nobody"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network(f"{address}/64", strict=False)) if address.version == 6 else host
