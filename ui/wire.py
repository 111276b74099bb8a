"""Connections that keep little of what their reader has not taken yet."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from uvicorn.protocols.http.h11_impl import H11Protocol

_UNSENT_BYTES = 4096


class ThinLine(H11Protocol):
    """Whoever reads slowly is sent the newest preview, not all of them: a stream's next message is made once this one has left.

    The server would hold 64 KiB of a connection, and the system behind it megabytes: a minute of previews that nobody wants any more.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)
        # Bytes on their way are not counted, so a fast line stays fast. Not every system has the option, nor every kind of socket.
        with suppress(AttributeError, OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
