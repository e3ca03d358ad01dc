"""A TLS port that counts a connection from the moment when it was accepted, not only once its handshake is through.

asyncio's server tells nobody of a handshake that is under way: whoever opens connections and goes no further would have
as many as the process may have files. So connections are accepted here, each takes its place in the room that the ports
share, and asyncio is handed the accepted socket, which keeps the event loop's own TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Final

from gateway.http_server import RoadConnection, RoadServer

# How many connections are accepted before others have their turn.
_AT_ONCE: Final = 64
# How long nothing is accepted after the system had no file or memory for it.
_PAUSE_SECONDS: Final = 1.0


class TLSDoor:
    """Listens, in the place of asyncio's server. For one event loop."""

    def __init__(self, server: RoadServer, context: ssl.SSLContext) -> None:
        self._server = server
        self._context = context
        self._listening: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._arrivals: set[Arrival] = set()

    async def open(self, host: str, port: int, backlog: int) -> None:
        """Listens at every address of the host. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        with contextlib.ExitStack() as opened:
            for family, *_, address in dict.fromkeys(found):
                one = opened.enter_context(socket.create_server(address, family=family, backlog=backlog))
                one.setblocking(False)
                self._listening.append(one)
            opened.pop_all()
        self._accepting = [loop.create_task(self._accept(one)) for one in self._listening]

    async def close(self) -> None:
        """The port is closed on return; handshakes are cut, for nobody has asked for anything yet."""
        for task in self._accepting:
            task.cancel()
        for arrival in tuple(self._arrivals):
            arrival.cut()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for one in self._listening:
            one.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
                self._admit(accepted)
                with contextlib.suppress(BlockingIOError):
                    for _ in range(_AT_ONCE):
                        accepted, _ = listening.accept()
                        accepted.setblocking(False)
                        self._admit(accepted)
            except ConnectionError:
                # Whoever it was has gone again.
                continue
            except OSError:
                await asyncio.sleep(_PAUSE_SECONDS)

    def _admit(self, accepted: socket.socket) -> None:
        try:
            if not self._server.room.admits():
                self._server.on_cut("room")
                accepted.close()
                return
            arrival = Arrival(self._server, self._context, accepted)
        except Exception as error:  # noqa: BLE001 - as asyncio's server: whatever it is, the port stays open
            accepted.close()
            unforeseen = {"message": "a connection could not be admitted", "exception": error}
            asyncio.get_running_loop().call_exception_handler(unforeseen)
            return
        self._arrivals.add(arrival)
        arrival.task.add_done_callback(lambda _: self._arrivals.discard(arrival))


class Arrival:
    """A connection whose TLS handshake is under way. It has its place in the room, and gives it back with the end."""

    def __init__(self, server: RoadServer, context: ssl.SSLContext, accepted: socket.socket) -> None:
        self._server = server
        self._context = context
        self._socket: socket.socket | None = accepted
        loop = asyncio.get_running_loop()
        self.began = loop.time()
        server.room.arriving[self] = None
        self.task = loop.create_task(self._shake_hands())
        self.task.add_done_callback(self._over)

    def cut(self, why: str | None = None) -> None:
        """Ends it at once; its place is free."""
        self._through()
        if why is not None:
            self._server.on_cut(why)
        self.task.cancel()

    async def _shake_hands(self) -> None:
        accepted, self._socket = self._socket, None
        assert accepted is not None
        seconds = self._server.head_seconds
        try:
            async with asyncio.timeout(seconds):
                # The event loop's own limit tells nobody when it is over: it comes second.
                await asyncio.get_running_loop().connect_accepted_socket(
                    self._connection, accepted, ssl=self._context, ssl_handshake_timeout=2 * seconds
                )
        except TimeoutError:
            self._server.on_cut("head")
        except OSError:
            # No TLS, none of ours, or nobody any more: there is nothing to be answered in.
            return

    def _connection(self) -> RoadConnection:
        return self._server.admitted(self._through)

    def _through(self) -> None:
        """The handshake is done, and the connection counts as the others do; or it has failed."""
        self._server.room.arriving.pop(self, None)

    def _over(self, _task: asyncio.Task[None]) -> None:
        self._through()
        if self._socket is not None:
            # It was cut before it began.
            self._socket.close()
