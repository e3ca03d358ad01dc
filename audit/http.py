"""The public read side of the logs, as aiohttp routes under /audit, and the witness's under /witness.

Follows C2SP tlog-tiles for checkpoint and tiles. `<log>` is the log's short name, e.g. its year. Entries are not
public: they are pseudonymous, and whoever holds a person's key could follow them. The auditor gets them for a token.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.checkpoint_stamps import newest_stamp
from audit.entry_bundles import build_bundle, parse_bundle_path
from audit.errors import (
    AuditError,
    LogUnavailable,
    MalformedInput,
    OutOfRange,
    ProofInvalid,
    SizeConflict,
    UnknownLog,
    UntrustedSignature,
)
from audit.proofs import consistency_text, leaf_proof, published_note
from audit.publisher import Publisher
from audit.tiles import available_width, parse_tile_path
from audit.tree_reader import entries_of, tile_bytes
from audit.witness import MAX_REQUEST_BYTES, SIZE_TYPE
from audit.witness_store import Witness

_CORS: Final = {"Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff"}
_FOR_EVER: Final = {"Cache-Control": "public, max-age=31536000, immutable"} | _CORS
_SHORT: Final = {"Cache-Control": "public, max-age=1"} | _CORS
_MAX_NUMBER_DIGITS: Final = 16

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_routes(
    app: web.Application,
    engine: AsyncEngine,
    publishers: Mapping[str, Publisher],
    *,
    auditor_token: str | None = None,
    current: Callable[[], Publisher] | None = None,
    public_url: str | None = None,
) -> None:
    """Serve these logs, by short name. The publishers are the caller's to start and stop.

    `auditor_token`: who brings it is given the entries; without one nobody is. `current`: the log that still grows; all
    do without it. `public_url`: where others reach these routes; without it, where they asked.
    """
    routes = _Routes(engine, publishers, auditor_token, current=current, public_url=public_url)
    for path, handler in (
        ("/audit/{log}/tile/entries/{tile:.+}", routes.entries),
        ("/audit/logs", routes.logs),
        ("/audit/{log}/checkpoint", routes.checkpoint),
        ("/audit/{log}/timestamp", routes.timestamp),
        ("/audit/{log}/tile/{tile:.+}", routes.tile),
        ("/audit/{log}/proof/inclusion", routes.inclusion),
        ("/audit/{log}/proof/consistency", routes.consistency),
    ):
        app.router.add_get(path, _answering(handler))


def add_witness_routes(app: web.Application, witness: Witness) -> None:
    """Serve a witness: C2SP tlog-witness, its submission and its monitoring paths under one prefix."""

    async def add_checkpoint(request: web.Request) -> web.Response:
        if request.content_length is not None and request.content_length > MAX_REQUEST_BYTES:
            return web.Response(status=413, text="too large\n")
        body = await request.content.read(MAX_REQUEST_BYTES + 1)
        while body and len(body) <= MAX_REQUEST_BYTES and not request.content.at_eof():
            body += await request.content.read(MAX_REQUEST_BYTES + 1 - len(body))
        return await _cosigned(witness, body)

    async def checkpoint(request: web.Request) -> web.Response:
        note = await witness.note_of(request.match_info["origin"])
        if note is None:
            return web.Response(status=404, text="nothing of this log was cosigned\n", headers=_CORS)
        return _text(note)

    app.router.add_post("/witness/add-checkpoint", add_checkpoint)
    app.router.add_get("/witness/{origin:[0-9a-f]{64}}/checkpoint", checkpoint)


async def _cosigned(witness: Witness, body: bytes) -> web.Response:
    """The statuses of tlog-witness."""
    try:
        return web.Response(body=await witness.add_checkpoint(body), content_type="text/plain", charset="utf-8")
    except MalformedInput:
        return web.Response(status=400, text="not an add-checkpoint request\n")
    except UnknownLog:
        return web.Response(status=404, text="no such log here\n")
    except UntrustedSignature:
        return web.Response(status=403, text="not signed by the log's key\n")
    except SizeConflict as conflict:
        return web.Response(status=409, body=f"{conflict.size}\n".encode(), headers={"Content-Type": SIZE_TYPE})
    except ProofInvalid:
        return web.Response(status=422, text="not consistent with what this witness has seen\n")


def _answering(handler: _Handler) -> _Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except MalformedInput:
            return web.Response(status=400, text="malformed request\n", headers=_CORS)
        except OutOfRange:
            return web.Response(status=404, text="the log has no such thing (yet)\n", headers=_CORS)
        except LogUnavailable:
            return web.Response(status=503, text="nothing has been published yet\n", headers=_CORS)
        except AuditError:
            return web.Response(status=500, text="the log can't be read\n", headers=_CORS)

    return answer


class _Routes:
    def __init__(
        self,
        engine: AsyncEngine,
        publishers: Mapping[str, Publisher],
        auditor_token: str | None,
        *,
        current: Callable[[], Publisher] | None,
        public_url: str | None,
    ) -> None:
        self._engine = engine
        self._publishers = publishers
        self._current = current
        self._public_url = public_url
        self._authorization = None if auditor_token is None else f"Bearer {auditor_token}".encode()

    def _publisher(self, request: web.Request) -> Publisher:
        try:
            return self._publishers[request.match_info["log"]]
        except KeyError:
            raise OutOfRange("no such log") from None

    async def logs(self, request: web.Request) -> web.Response:
        """Every log: under which prefix it is served, which keys sign it, the first entry that is kept, if it grows.

        `vkey` is the key for a policy's `log` line, `vkeys` are all.
        """
        base = self._public_url or str(request.url.origin())
        listed = [
            {
                "origin": publisher.origin,
                "prefix": f"{base}/audit/{name}",
                "vkey": publisher.verifier.text,
                "vkeys": [key.text for key in publisher.verifiers],
                "first_index": 0,
                "state": "active" if self._current is None or publisher is self._current() else "closed",
            }
            for name, publisher in sorted(self._publishers.items())
        ]
        # Where we don't know our own address it is the asker's: not for others' caches.
        headers = _SHORT if self._public_url is not None else _CORS | {"Cache-Control": "no-store"}
        return web.json_response(listed, headers=headers)

    async def timestamp(self, request: web.Request) -> web.Response:
        """The newest RFC 3161 token (DER), with the checkpoint that it is over: SHA-512 of the note's bytes."""
        async with self._engine.connect() as connection:
            stamp = await newest_stamp(connection, self._publisher(request).log)
        if stamp is None:
            raise OutOfRange("no checkpoint was stamped yet")
        body = {
            "checkpoint": stamp.note.decode(),
            "token": b64encode(stamp.token).decode(),
            "time": datetime.fromtimestamp(stamp.time_ms / 1000, UTC).isoformat(timespec="seconds"),
            "authority": stamp.authority,
        }
        return web.json_response(body, headers=_SHORT)

    async def checkpoint(self, request: web.Request) -> web.Response:
        return _text(await self._publisher(request).latest())

    async def tile(self, request: web.Request) -> web.Response:
        publisher = self._publisher(request)
        tile = parse_tile_path(request.match_info["tile"])
        # Only what a published checkpoint covers: a tile beyond it could still be taken back by nobody but us.
        if tile.width > available_width(tile.level, tile.index, publisher.published.size):
            raise OutOfRange("no such tile yet")
        async with self._engine.connect() as connection:
            body = await tile_bytes(connection, publisher.log, tile)
        return web.Response(body=body, content_type="application/octet-stream", headers=_FOR_EVER)

    async def entries(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if self._authorization is None or not hmac.compare_digest(given, self._authorization):
            return web.Response(
                status=401, text="entries are for the auditor\n", headers={"WWW-Authenticate": "Bearer"}
            )
        publisher = self._publisher(request)
        tile = parse_bundle_path(request.match_info["tile"])
        if tile.width > available_width(0, tile.index, publisher.published.size):
            raise OutOfRange("no such entries yet")
        async with self._engine.connect() as connection:
            body = build_bundle(await entries_of(connection, publisher.log, tile))
        headers = {"Cache-Control": "private, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return web.Response(body=body, content_type="application/octet-stream", headers=headers)

    async def inclusion(self, request: web.Request) -> web.Response:
        publisher = self._publisher(request)
        index = _number(request, "index")
        async with self._engine.connect() as connection:
            note = await publisher.latest()
            if "size" in request.query:
                note = await published_note(connection, publisher.log, _number(request, "size"))
            return _text((await leaf_proof(connection, publisher.log, index, note)).encode())

    async def consistency(self, request: web.Request) -> web.Response:
        publisher = self._publisher(request)
        old = _number(request, "old")
        async with self._engine.connect() as connection:
            note = await publisher.latest()
            if "new" in request.query:
                note = await published_note(connection, publisher.log, _number(request, "new"))
            return _text(await consistency_text(connection, publisher.log, old, note))


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_NUMBER_DIGITS):
        raise MalformedInput("not a number")
    return int(text)


def _text(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="text/plain", charset="utf-8", headers=_SHORT)
