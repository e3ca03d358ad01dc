"""Asking time-stamping authorities over HTTP (RFC 3161 3.4), one by one until one gives a token that holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import aiohttp

from trust.errors import FetchFailed, TimestampInvalid, TrustError
from trust.parameters import ApprovedTSA
from trust.timestamp import (
    MAX_TOKEN_BYTES,
    VerifiedTimestamp,
    add_certificate,
    build_request,
    parse_response,
    verify_token,
)

# UG-SYSPAR: connect within 20 s, answer within 60 s.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=20)


class TimestampClient:
    """Gets time stamps from the approved authorities. Use from one event loop."""

    def __init__(self, session: aiohttp.ClientSession, clock: Callable[[], datetime]) -> None:
        """`clock` gives the time as aware UTC."""
        self._session = session
        self._clock = clock

    async def stamp(self, digest: bytes, authorities: Sequence[ApprovedTSA]) -> VerifiedTimestamp:
        """A verified time stamp over a SHA-512 digest, with the signer's certificate in its token.

        Authorities are tried in order. Raises what the last one failed with, FetchFailed without any.
        """
        failure: TrustError = FetchFailed("no time-stamping authority is approved", code="timestamping_failed")
        for authority in authorities:
            try:
                return await self._stamp(digest, authority)
            except TrustError as error:
                failure = error
        raise failure

    async def _stamp(self, digest: bytes, authority: ApprovedTSA) -> VerifiedTimestamp:
        asked_at = self._clock()
        token = parse_response(await self._ask(authority.url, build_request(digest)))
        # PR-MESSTRANSP leaves the certificate out of the request; whoever reads the token later needs it (UG-SIGDOC 4).
        token = add_certificate(token, authority.certificate)
        return verify_token(
            token, digest=digest, tsa_certificate=authority.certificate, at=self._clock(), asked_at=asked_at
        )

    async def _ask(self, url: str, request: bytes) -> bytes:
        headers = {"Content-Type": "application/timestamp-query"}
        try:
            async with self._session.post(
                url, data=request, headers=headers, timeout=_TIMEOUT, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise FetchFailed("a time-stamping authority answered with an error", code="timestamping_failed")
                if response.content_type != "application/timestamp-reply":
                    raise TimestampInvalid("a time-stamping authority answered with something else")
                body = bytearray()
                async for chunk in response.content.iter_chunked(16 << 10):
                    body += chunk
                    if len(body) > MAX_TOKEN_BYTES:
                        raise TimestampInvalid("a time-stamping authority sent too much")
                return bytes(body)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise FetchFailed("a time-stamping authority is not reachable", code="timestamping_failed") from error
