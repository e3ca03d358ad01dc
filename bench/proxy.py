"""The yardstick: a plain reverse proxy. Passes a request and its answer on, and does nothing else. Run as a process.

As lean as aiohttp allows: the low-level server that the gateways use, one pool of connections, bodies neither decoded
nor copied.

    python -m bench.proxy PORT NEXT_PORT
"""

from __future__ import annotations

import sys
from typing import Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from bench.plain import HOST, serve

# RFC 9110 section 7.6.1.
_HOP_BY_HOP: Final = ("Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade")


class Proxy:
    """Forwards to one next hop."""

    def __init__(self, next_port: int) -> None:
        self._next = f"http://{HOST}:{next_port}"
        self._session: aiohttp.ClientSession | None = None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The next hop's answer."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        body = await request.read() if request.can_read_body else None
        async with self._session.request(
            request.method,
            URL(self._next + request.raw_path, encoded=True),
            headers=_forwarded(request.headers, "Host"),
            data=body,
            allow_redirects=False,
        ) as answer:
            content = await answer.read()
        return web.Response(status=answer.status, headers=_forwarded(answer.headers, "Content-Length"), body=content)


def _forwarded(headers: CIMultiDictProxy[str], own: str) -> CIMultiDict[str]:
    forwarded = CIMultiDict(headers)
    for name in (*_HOP_BY_HOP, own):
        forwarded.pop(name, None)
    return forwarded


if __name__ == "__main__":
    serve(Proxy(int(sys.argv[2])).handle, int(sys.argv[1]))
