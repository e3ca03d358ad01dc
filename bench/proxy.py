"""The yardstick: a plain reverse proxy. Passes a request and its answer on, and does nothing else. Run as a process.

As lean as aiohttp allows: the low-level server that the gateways use, one pool of connections, bodies neither decoded
nor copied; those of more than 64 KiB pass as they come.

    python -m bench.proxy PORT NEXT_PORT
"""

from __future__ import annotations

import sys
from typing import Final

import aiohttp
from aiohttp import StreamReader, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from bench.plain import HOST, serve

# What is larger streams: it needn't be in memory for that.
_SMALL: Final = 64 * 1024
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
        body: bytes | StreamReader | None = None
        if request.can_read_body:
            small = request.content_length is not None and request.content_length <= _SMALL
            body = await request.read() if small else request.content
        async with self._session.request(
            request.method,
            URL(self._next + request.raw_path, encoded=True),
            headers=_forwarded(request.headers, "Host"),
            data=body,
            allow_redirects=False,
        ) as answer:
            if answer.content_length is None or answer.content_length > _SMALL:
                return await self._stream(request, answer)
            content = await answer.read()
        return web.Response(status=answer.status, headers=_forwarded(answer.headers, "Content-Length"), body=content)

    @staticmethod
    async def _stream(request: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        passed = web.StreamResponse(status=answer.status, headers=_forwarded(answer.headers, "Host"))
        await passed.prepare(request)
        async for chunk in answer.content.iter_any():
            await passed.write(chunk)
        await passed.write_eof()
        return passed


def _forwarded(headers: CIMultiDictProxy[str], own: str) -> CIMultiDict[str]:
    forwarded = CIMultiDict(headers)
    for name in (*_HOP_BY_HOP, own):
        forwarded.pop(name, None)
    return forwarded


if __name__ == "__main__":
    serve(Proxy(int(sys.argv[2])).handle, int(sys.argv[1]))
