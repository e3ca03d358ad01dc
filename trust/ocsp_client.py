"""Certificate status over the network: asking responders, keeping answers fresh, giving them to peers and taking
theirs.

Follows RFC 6960 appendix A (OCSP over HTTP) and PR-MESSTRANSP 2.7 (a gateway serves the status of its own
certificates at `/?cert=<SHA-1>&cert_hash=<SHA-256>` as multipart/related). What an answer is worth is decided in
`trust.ocsp`.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import aiohttp
from aiohttp import web
from cryptography import x509

from trust.certificates import StatusQuery
from trust.errors import CertificateRevoked, FetchFailed, MalformedInput, StatusNotGood, TrustError
from trust.ocsp import MAX_BYTES, NOT_GOOD, VerifiedStatus, build_request

_DEFAULT_FRESHNESS: Final = timedelta(seconds=3600)
_RETRY: Final = timedelta(seconds=60)  # X-Road's signer waits as long after a failed fetch
_MAX_ASKED: Final = 10
_MAX_KEPT: Final = 1024
_RESPONSE_TYPE: Final = "application/ocsp-response"
_REQUEST_TYPE: Final = "application/ocsp-request"
_HEX: Final = re.compile(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")

OwnStatuses = Callable[[], Awaitable[Mapping[bytes, bytes]]]
"""Gives the current OCSP responses of our own certificates: certificate DER -> response DER."""


@dataclass(slots=True)
class _Kept:
    der: bytes
    status: VerifiedStatus
    refresh_at: datetime


class StatusSource:
    """Current, verified OCSP responses. One per process; used from one event loop.

    An answer is asked for again, in the background, when the configuration's fetch interval or half of its freshness is
    over; it goes on being served while it is fresh, even if the responder is dead. One question per certificate is
    under way at a time. An answer that says revoked takes effect at once.
    """

    def __init__(
        self, session: aiohttp.ClientSession, clock: Callable[[], datetime], *, timeout_seconds: float = 10.0
    ) -> None:
        self._session = session
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._kept: dict[x509.Certificate, _Kept] = {}
        self._asking: dict[x509.Certificate, asyncio.Task[bytes]] = {}

    async def status_of(
        self,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
        urls: Sequence[str],
        *,
        authorised_responders: Sequence[x509.Certificate] = (),
        freshness: timedelta = _DEFAULT_FRESHNESS,
    ) -> bytes:
        """A good, current OCSP response (DER). Raises StatusNotGood (revoked, unknown) or FetchFailed."""
        query = StatusQuery(certificate, issuer, tuple(urls), tuple(authorised_responders), freshness)
        return await self.status_for(query)

    async def status_for(self, query: StatusQuery) -> bytes:
        """As `status_of`, for a question that a CertificateVerifier put together."""
        kept = self._kept.get(query.certificate)
        now = self._clock()
        if kept is not None and kept.status.this_update <= now <= kept.status.good_until:
            if now >= kept.refresh_at:
                self._ask(query)
            return kept.der
        # Shielded: one caller that gives up must not take the answer from the others.
        return await asyncio.shield(self._ask(query))

    async def close(self) -> None:
        """Ends what is under way."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask(self, query: StatusQuery) -> asyncio.Task[bytes]:
        task = self._asking.get(query.certificate)
        if task is None:
            task = asyncio.create_task(self._refresh(query))
            self._asking[query.certificate] = task
            task.add_done_callback(lambda done: self._asked(query.certificate, done))
        return task

    def _asked(self, certificate: x509.Certificate, task: asyncio.Task[bytes]) -> None:
        self._asking.pop(certificate, None)
        # A background refresh has nobody waiting; its failure shows when the kept answer lapses.
        if not task.cancelled():
            task.exception()

    async def _refresh(self, query: StatusQuery) -> bytes:
        request = build_request(query.certificate, query.issuer)
        failure: TrustError = FetchFailed("no OCSP responder is known for the certificate", code=NOT_GOOD)
        for url in query.urls:
            try:
                der = await self._post(url, request)
                status = query.verify_status(der, at=self._clock())
            except CertificateRevoked:
                self._kept.pop(query.certificate, None)
                raise
            except (StatusNotGood, MalformedInput, FetchFailed) as error:
                # A responder of another authority of the chain doesn't know the certificate: the next one may.
                if not (isinstance(failure, StatusNotGood) and failure.code == NOT_GOOD):
                    failure = error
                continue
            self._keep(query, der, status)
            return der
        if isinstance(failure, StatusNotGood) and failure.code == NOT_GOOD:
            self._kept.pop(query.certificate, None)
            raise failure
        kept = self._kept.get(query.certificate)
        if kept is not None:
            kept.refresh_at = self._clock() + _RETRY
        if isinstance(failure, FetchFailed):
            raise failure
        raise FetchFailed(f"no usable OCSP answer: {failure}", hint="look at the responder of the authority") from None

    def _keep(self, query: StatusQuery, der: bytes, status: VerifiedStatus) -> None:
        half = (status.good_until - status.this_update) / 2
        refresh_at = status.this_update + half
        if query.fetch_interval is not None:
            refresh_at = min(refresh_at, self._clock() + query.fetch_interval)
        self._kept.pop(query.certificate, None)
        if len(self._kept) >= _MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[query.certificate] = _Kept(der, status, refresh_at)

    async def _post(self, url: str, request: bytes) -> bytes:
        headers = {"Content-Type": _REQUEST_TYPE, "Accept": _RESPONSE_TYPE}
        try:
            async with self._session.post(
                url, data=request, headers=headers, timeout=self._timeout, allow_redirects=False
            ) as response:
                if response.status != 200 or response.content_type != _RESPONSE_TYPE:
                    raise FetchFailed(f"the OCSP responder answered {response.status} {response.content_type}")
                return await _read(response, MAX_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise FetchFailed(f"the OCSP responder did not answer: {type(error).__name__}") from None


def add_peer_routes(app: web.Application, statuses: OwnStatuses) -> None:
    """Serve the status of our own certificates to peers: GET `/`, and HEAD `/` as the heartbeat."""

    async def handle(request: web.Request) -> web.Response:
        if request.method == "HEAD":
            return web.Response()
        # X-Road 7.4 to 7.8 send both names of each certificate, 8 only cert_hash, older ones only cert.
        asked = request.query.getall("cert_hash", []) or request.query.getall("cert", [])
        if not 0 < len(asked) <= _MAX_ASKED or not all(map(_HEX.fullmatch, asked)):
            return web.Response(status=400, text="cert or cert_hash: hexadecimal SHA-1 or SHA-256, at most ten\n")
        known: dict[str, bytes] = {}
        for certificate, response in (await statuses()).items():
            known[hashlib.sha256(certificate).hexdigest()] = response
            # PR-MESSTRANSP 2.7: older peers name certificates by SHA-1; a name, not a security measure.
            known[hashlib.sha1(certificate, usedforsecurity=False).hexdigest()] = response
        found = [known.get(name.lower()) for name in asked]
        if any(response is None for response in found):
            return web.Response(status=404, text="no status of such a certificate\n")
        return _multipart([response for response in found if response is not None])

    app.router.add_get("/", handle)


def _multipart(responses: Sequence[bytes]) -> web.Response:
    boundary = f"xocsp{secrets.token_hex(15)}"
    head = f"--{boundary}\r\nContent-Type: {_RESPONSE_TYPE}\r\n\r\n".encode()
    body = b"".join(head + response + b"\r\n" for response in responses) + f"--{boundary}--\r\n".encode()
    return web.Response(body=body, headers={"Content-Type": f"multipart/related; boundary={boundary}"})


async def fetch_from_peer(
    session: aiohttp.ClientSession, base_url: str, ders: Sequence[bytes], *, timeout_seconds: float = 30.0
) -> list[bytes]:
    """The OCSP responses of a peer's certificates, as the peer gives them, in the order of `ders`. Not verified.

    Raises FetchFailed and MalformedInput.
    """
    names = [("cert", hashlib.sha1(der, usedforsecurity=False).hexdigest()) for der in ders]
    names += [("cert_hash", hashlib.sha256(der).hexdigest()) for der in ders]
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    try:
        async with session.get(base_url, params=names, timeout=timeout, allow_redirects=False) as response:
            if response.status != 200:
                raise FetchFailed(f"the peer answered {response.status} for its certificates' status")
            body = await _read(response, _MAX_ASKED * MAX_BYTES)
            boundary = response.headers.get("Content-Type", "")
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise FetchFailed(f"the peer gave no certificate status: {type(error).__name__}") from None
    responses = parse_status_parts(boundary, body)
    if len(responses) != len(ders):
        raise MalformedInput("the peer gave another number of OCSP responses", code="mime_parsing_failed")
    return responses


def parse_status_parts(content_type: str, body: bytes) -> list[bytes]:
    """The OCSP responses in a multipart/related answer. Raises MalformedInput."""
    match = re.fullmatch(
        r'multipart/related;.*?boundary="?([\w\'()+,./:=?-]{1,70})"?(?:;.*)?', content_type, re.IGNORECASE
    )
    if match is None:
        raise MalformedInput("not a multipart answer", code="mime_parsing_failed")
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + match.group(1).encode())
    if not parts or not parts[-1].startswith(b"--"):
        raise MalformedInput("the multipart answer has no end", code="mime_parsing_failed")
    responses = []
    for part in parts[:-1]:
        headers, separator, content = part.partition(b"\r\n\r\n")
        if not separator or _RESPONSE_TYPE.encode() not in headers.lower():
            raise MalformedInput("a part that isn't an OCSP response", code="mime_parsing_failed")
        responses.append(content)
    return responses


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_chunked(8192):
        data += chunk
        if len(data) > limit:
            raise FetchFailed("the answer is too large")
    return bytes(data)
